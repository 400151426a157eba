"""Predict RTMR2 of one's own command line, then boot it and show that it came out so."""

from __future__ import annotations

import hashlib

from labkit.course._evidence import EvidenceCheck, read_evidence, synthetic_evidence, tagged_log
from labkit.course._forms import Hex, LineOfText, ShownForm
from labkit.course.draw import Draw
from labkit.course.exercises.booted import bound_answers, line_digest
from labkit.course.model import AnswerMark, Claims, Exercise, Question, Task, Variant, mark

_BOUND = ("command_line", "rtmr2")


def _make(draw: Draw) -> Variant:
    word = f"seat={draw.word()}"
    return Variant(parameters={"append": word, "memory": 256 + 32 * draw.below(13), "bound": list(_BOUND)})


def _check(task: Task, claims: Claims) -> list[AnswerMark]:
    shown = read_evidence(task.challenge, claims, bound_answers(claims, _BOUND))
    line, rtmr2, evidence = task.exercise.questions
    return [
        _line(task, line, claims, shown),
        _rtmr2(rtmr2, claims, shown),
        mark(evidence, 0, shown.problem, forged=shown.forged)
        if shown.problem
        else mark(evidence, evidence.points, "The evidence is yours, and holds."),
    ]


def _line(task: Task, question: Question, claims: Claims, shown: EvidenceCheck) -> AnswerMark:
    given = claims.answers.get(question.key)
    if question.form.empty(given):
        return mark(question, 0, "Not answered.")
    try:
        text = question.form.read(given)
    except ValueError as error:
        return mark(question, 0, f"The answer cannot be read: {error}.")
    word = task.variant.parameters["append"]
    if word not in text.split():
        return mark(question, 0, f"Your word {word} is not in it.")
    if shown.problem:
        return mark(question, 0, f"Nothing shows that this line was booted: {shown.problem}")
    if line_digest(text) not in shown.digests(2):
        return mark(question, 0, "The event log has no event with the digest of this line in RTMR2.")
    return mark(question, question.points, "Right: its digest stands in your event log.")


def _rtmr2(question: Question, claims: Claims, shown: EvidenceCheck) -> AnswerMark:
    given = claims.answers.get(question.key)
    if question.form.empty(given):
        return mark(question, 0, "Not answered.")
    try:
        value = question.form.read(given)
    except ValueError as error:
        return mark(question, 0, f"The answer cannot be read: {error}.")
    if shown.problem:
        return mark(question, 0, f"Nothing shows that it came out so: {shown.problem}")
    if value != shown.rtmr[2]:
        return mark(question, 0, f"You predicted another value than the quote has: {shown.rtmr[2].hex()}.")
    return mark(question, question.points, "Right: written down before the boot, and so it came out.")


def _solve(task: Task) -> Claims:
    line = f"console=ttyS0 {task.variant.parameters['append']} initrd=initrd"
    initrd = hashlib.sha384(b"the initrd of a worked solution").digest()
    log = tagged_log({2: [("command line", line_digest(line)), ("initrd", initrd)]})
    register = bytes(48)
    for digest in (line_digest(line), initrd):
        register = hashlib.sha384(register + digest).digest()
    claims = Claims({"command_line": line, "rtmr2": register.hex()})
    report_data = task.challenge.report_data(bound_answers(claims, _BOUND))
    return Claims(claims.answers, synthetic_evidence(log, report_data))


EXERCISE = Exercise(
    name="own-rtmr2",
    title="Predict RTMR2 of your own command line, then boot it",
    chapter="03-boot-the-tdvm",
    questions=(
        Question(
            "command_line",
            "The kernel's whole command line when your word is added",
            1,
            LineOfText(),
            (
                "The guest shows it in /proc/cmdline.",
                "The firmware adds a word of its own; boot once without your word and look where it stands.",
            ),
            unique=True,
        ),
        Question(
            "rtmr2",
            "RTMR2, predicted before you take the evidence",
            3,
            Hex(48),
            (
                "Two events go into RTMR2: the command line and the initrd.",
                "The command line is hashed as UTF-16 with two zero bytes at its end.",
                "`lab.policy(nonce, memory=…, append=…).prediction.events` has the digests; fold those of "
                "register 2.",
            ),
        ),
        Question(
            "evidence",
            "Evidence of your own boot",
            2,
            ShownForm("the evidence of a boot, taken with work.report_data()"),
            (
                "Write both answers down first: work.report_data() binds them.",
                "`lab.attest(work.report_data(), policy, memory=…, append=…)`, then work.keep(…).",
            ),
        ),
    ),
    make=_make,
    check=_check,
    solve=_solve,
    boots=True,
    public=frozenset({"command_line", "rtmr2", "evidence"}),
)
