"""Questions that are answered inside the guest's shell, with evidence of the boot."""

from __future__ import annotations

import hashlib

from labkit.course._evidence import EvidenceCheck, read_evidence, synthetic_evidence
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
from labkit.errors import LabkitError
from labkit.measure import EventLog, replay_pcrs
from labkit.measure.event_log import LogEvent, LogFormat, LogHeader
from labkit.measure.event_types import EventType
from labkit.measure.replay import extend

_SHA384 = 0x000C
_BOUND = ("command_line", "pcr", "token")
_PCRS = (1, 4, 5, 7, 9)


def _make(draw: Draw) -> Variant:
    word = f"seat={draw.word()}"
    return Variant(
        parameters={
            "append": word,
            "memory": 256 + 32 * draw.below(13),
            "pcr": draw.choice(_PCRS),
            "salt": draw.word(),
            "bound": list(_BOUND),
        }
    )


def token_of(salt: str, line: str) -> str:
    """What ``{ echo SALT; cat /proc/cmdline; } | sha256sum`` prints for this command line."""
    return hashlib.sha256(f"{salt}\n{line}\n".encode("utf-8", "surrogatepass")).hexdigest()


def _check(task: Task, claims: Claims) -> list[AnswerMark]:
    line, pcr, token, evidence = task.exercise.questions
    shown = read_evidence(task.challenge, claims, bound_answers(claims, _BOUND))
    return [
        mark_line(task, line, claims, shown),
        _pcr(task, pcr, claims, shown),
        _token(task, token, claims, shown),
        mark_evidence(evidence, shown),
    ]


def _pcr(task: Task, question: Question, claims: Claims, shown: EvidenceCheck) -> AnswerMark:
    value, nothing = answer_of(question, claims)
    if nothing:
        return nothing
    if shown.problem or shown.log is None:
        return mark(question, 0, f"There is nothing to compare it with: {shown.problem}")
    try:
        replayed = replay_pcrs(shown.log, "sha384").get(task.variant.parameters["pcr"])
    except LabkitError as error:
        return mark(question, 0, f"The log does not tell the PCR: {error.message}")
    if value != replayed:
        return mark(question, 0, "The event log leads to another value.")
    return mark(question, question.points, "Right: the event log leads to the same value.")


def _token(task: Task, question: Question, claims: Claims, shown: EvidenceCheck) -> AnswerMark:
    value, nothing = answer_of(question, claims)
    if nothing:
        return nothing
    if shown.problem:
        return mark(question, 0, f"There is nothing to compare it with: {shown.problem}")
    line = str(claims.answers.get("command_line"))
    if value.hex() != token_of(task.variant.parameters["salt"], line):
        return mark(question, 0, "It is not the digest of your salt and your command line.")
    return mark(question, question.points, "Right.")


def _solve(task: Task) -> Claims:
    parameters = task.variant.parameters
    line = f"console=ttyS0 {parameters['append']} initrd=initrd"
    rows = [(pcr, hashlib.sha384(f"event of PCR {pcr}".encode()).digest()) for pcr in (1, 4, 5, 7)]
    rows += [(9, line_digest(line)), (9, hashlib.sha384(b"initrd").digest())]
    log = EventLog(
        LogFormat.TCG,
        LogHeader(),
        tuple(
            LogEvent(index, pcr, EventType.EV_IPL, ((_SHA384, digest),), b"worked solution")
            for index, (pcr, digest) in enumerate(rows, 1)
        ),
    )
    value = bytes(48)
    for pcr, digest in rows:
        if pcr == parameters["pcr"]:
            value = extend(value, digest)
    answers = {
        "command_line": line,
        "pcr": value.hex(),
        "token": token_of(parameters["salt"], line),
    }
    report_data = task.challenge.report_data(bound_answers(Claims(answers), _BOUND))
    return Claims(answers, synthetic_evidence(log, report_data))


EXERCISE = Exercise(
    name="shell-question",
    title="Questions for the guest's shell",
    chapter="shell",
    questions=(
        Question(
            "command_line",
            "The kernel's command line",
            1,
            LineOfText(),
            ("`cat /proc/cmdline` in the guest.",),
        ),
        Question(
            "pcr",
            "The value of your PCR in the SHA-384 bank",
            2,
            Hex(48),
            (
                "The vTPM's registers are files below /sys/class/tpm/tpm0.",
                "`cat /sys/class/tpm/tpm0/pcr-sha384/N`, with your number for N.",
            ),
        ),
        Question(
            "token",
            "What `{ echo SALT; cat /proc/cmdline; } | sha256sum` prints in the guest, with your salt",
            1,
            Hex(32),
            ("Give the 64 digits only, without the `-` behind them.",),
        ),
        Question(
            "evidence",
            "Evidence of the same boot",
            2,
            ShownForm("the evidence of a boot, taken with work.report_data()"),
            ("Ask for it while the guest still runs, after the answers are written down.",),
        ),
    ),
    make=_make,
    check=_check,
    solve=_solve,
    boots=True,
    public=frozenset({"command_line", "pcr", "token", "evidence"}),
)
