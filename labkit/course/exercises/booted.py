"""What exercises with a boot share: answers that a quote binds, and the marks that evidence decides."""

from __future__ import annotations

import hashlib

from labkit.course._evidence import EvidenceCheck
from labkit.course.model import AnswerMark, Claims, Question, Task, answer_of, canonical, mark


def bound_answers(claims: Claims, keys: tuple[str, ...]) -> dict[str, bytes]:
    """Answers as the files that a quote's REPORTDATA binds."""
    return {key: canonical(claims.answers.get(key)) for key in keys}


def line_digest(line: str) -> bytes:
    """What the firmware measures of a command line: UTF-16 with a final NUL."""
    return hashlib.sha384(f"{line}\0".encode("utf-16-le", "surrogatepass")).digest()


def mark_evidence(question: Question, shown: EvidenceCheck) -> AnswerMark:
    """The mark for the evidence itself."""
    if shown.problem:
        return mark(question, 0, shown.problem, forged=shown.forged)
    return mark(question, question.points, "The evidence is yours, and holds.")


def mark_line(task: Task, question: Question, claims: Claims, shown: EvidenceCheck) -> AnswerMark:
    """The mark for a kernel's command line that holds the student's word and was measured."""
    text, nothing = answer_of(question, claims)
    if nothing:
        return nothing
    word = task.variant.parameters["append"]
    if word not in text.split():
        return mark(question, 0, f"Your word {word} is not in it.")
    if shown.problem:
        return mark(question, 0, f"Nothing shows that this line was booted: {shown.problem}")
    if line_digest(text) not in shown.digests(2):
        return mark(question, 0, "The event log has no event with the digest of this line in RTMR2.")
    return mark(question, question.points, "Right: its digest stands in your event log.")
