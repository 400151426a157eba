"""What exercises with a boot share: answers that a quote binds, and reading them against the evidence."""

from __future__ import annotations

import hashlib
from typing import Any

from labkit.course.model import AnswerMark, Claims, Question, canonical, mark


def bound_answers(claims: Claims, keys: tuple[str, ...]) -> dict[str, bytes]:
    """Answers as the files that a quote's REPORTDATA binds."""
    return {key: canonical(claims.answers.get(key)) for key in keys}


def line_digest(line: str) -> bytes:
    """What the firmware measures of a command line: UTF-16 with a final NUL."""
    return hashlib.sha384(f"{line}\0".encode("utf-16-le", "surrogatepass")).digest()


def answer_of(question: Question, claims: Claims) -> tuple[Any, AnswerMark | None]:
    """The value of an answer; or why there is none, as a mark without points."""
    given = claims.answers.get(question.key)
    if question.form.empty(given):
        return None, mark(question, 0, "Not answered.")
    try:
        return question.form.read(given), None
    except ValueError as error:
        return None, mark(question, 0, f"The answer cannot be read: {error}.")
