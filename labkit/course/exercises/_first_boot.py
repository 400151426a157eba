"""A first boot: what the machine says about itself, what it may be trusted for, and evidence of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from labkit.course._evidence import EvidenceCheck, read_evidence, synthetic_evidence, tagged_log
from labkit.course._forms import Hex, LineOfText, Number, ShownForm
from labkit.course.draw import Draw
from labkit.course.exercises.booted import bound_answers, mark_evidence
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

_BOUND = ("memory", "greeting", "trust")
# What firmware and kernel keep for themselves of a small guest, in KiB (measured: 40 to 75 MiB).
_KEPT = 128 << 10


def _make(draw: Draw) -> Variant:
    return Variant(
        parameters={
            "memory": 256 + 16 * draw.below(33),
            "greeting": f"hello from {draw.word()}",
            "bound": list(_BOUND),
        }
    )


def _check(task: Task, claims: Claims) -> list[AnswerMark]:
    memory, greeting, trust, evidence = task.exercise.questions
    shown = read_evidence(task.challenge, claims, bound_answers(claims, _BOUND))
    total = task.variant.parameters["memory"] << 10
    wanted = hashlib.sha256(f"{task.variant.parameters['greeting']}\n".encode()).digest()
    return [
        _one(memory, claims, shown, lambda value: total - _KEPT <= value < total),
        _one(greeting, claims, shown, lambda value: value == wanted),
        _one(trust, claims, shown, lambda value: value == "none"),
        mark_evidence(evidence, shown),
    ]


def _one(
    question: Question, claims: Claims, shown: EvidenceCheck, right: Callable[[Any], bool]
) -> AnswerMark:
    value, nothing = answer_of(question, claims)
    if nothing:
        return nothing
    if shown.problem:
        return mark(question, 0, f"Nothing shows that a machine of yours was booted: {shown.problem}")
    if not right(value):
        return mark(question, 0, "Wrong.")
    return mark(question, question.points, "Right.")


def _solve(task: Task) -> Claims:
    parameters = task.variant.parameters
    answers = {
        "memory": (parameters["memory"] << 10) - (60 << 10),
        "greeting": hashlib.sha256(f"{parameters['greeting']}\n".encode()).hexdigest(),
        "trust": "none",
    }
    log = tagged_log({2: [("command line", hashlib.sha384(b"worked solution").digest())]})
    report_data = task.challenge.report_data(bound_answers(Claims(answers), _BOUND))
    return Claims(answers, synthetic_evidence(log, report_data))


EXERCISE = Exercise(
    name="first-boot",
    title="Your first TDVM",
    chapter="00-start-here",
    questions=(
        Question(
            "memory",
            "How much memory does the guest have? (MemTotal, in KiB)",
            1,
            Number(),
            ("`grep MemTotal /proc/meminfo` in the guest.", "Give the number alone, without kB."),
        ),
        Question(
            "greeting",
            "SHA-256 of your greeting, computed in the guest",
            1,
            Hex(32),
            ("`echo GREETING | sha256sum`, with the words of your challenge for GREETING.",),
        ),
        Question(
            "trust",
            "How far may you trust this machine?",
            1,
            LineOfText(("hardware", "none")),
            ("The headline says it, and so does tdvm.trust.", "It does not run on TDX hardware."),
        ),
        Question(
            "evidence",
            "Evidence of the boot",
            2,
            ShownForm("the evidence of a boot, taken with work.report_data()"),
            (
                "Write the other answers down first: work.report_data() binds them.",
                "`lab.attest(work.report_data(), policy, memory=…)`, then work.keep(…).",
            ),
        ),
    ),
    make=_make,
    check=_check,
    solve=_solve,
    boots=True,
    public=frozenset({"memory", "greeting", "trust", "evidence"}),
)
