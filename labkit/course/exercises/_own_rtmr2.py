"""Predict RTMR2 of one's own command line, then boot it and show that it came out so."""

from __future__ import annotations

import hashlib

from labkit.course._evidence import EvidenceCheck, read_evidence, synthetic_evidence, tagged_log
from labkit.course._forms import Hex, LineOfText, ShownForm
from labkit.course.draw import Draw
from labkit.course.exercises.booted import bound_answers, line_digest, mark_evidence, mark_line
from labkit.course.model import (
    AnswerMark,
    Claims,
    Exercise,
    Question,
    Task,
    Variant,
    answer_of,
    mark,
)

_BOUND = ("command_line", "rtmr2")


def _make(draw: Draw) -> Variant:
    word = f"seat={draw.word()}"
    return Variant(parameters={"append": word, "memory": 256 + 32 * draw.below(13), "bound": list(_BOUND)})


def _check(task: Task, claims: Claims) -> list[AnswerMark]:
    shown = read_evidence(task.challenge, claims, bound_answers(claims, _BOUND))
    line, rtmr2, evidence = task.exercise.questions
    return [
        mark_line(task, line, claims, shown),
        _rtmr2(rtmr2, claims, shown),
        mark_evidence(evidence, shown),
    ]


def _rtmr2(question: Question, claims: Claims, shown: EvidenceCheck) -> AnswerMark:
    value, nothing = answer_of(question, claims)
    if nothing:
        return nothing
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
