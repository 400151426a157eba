"""Explain a rejected attestation: which register, which event, and what was done."""

from __future__ import annotations

from labkit.attest import LabAuthority
from labkit.course._forms import Hex, LineOfText, Number
from labkit.course.draw import Draw
from labkit.course.exercises._quotes import NOW, MadeUp, digest, events_of, files_of
from labkit.course.model import Exercise, Question, Variant, canonical, check_answers, solve_by_answers

_REGISTERS = ("MRTD", "RTMR0", "RTMR1", "RTMR2", "RTMR3")
_CAUSES = (
    "another command line",
    "another initrd",
    "another kernel",
    "another Secure Boot setting",
    "an application event was added",
)


def _make(draw: Draw) -> Variant:
    line = f"console=ttyS0 seat={draw.word()}"
    expected = MadeUp(draw.bytes(48), events_of(draw.child("events"), line), draw.bytes(64))
    cause = draw.choice(_CAUSES)
    actual = _changed(expected, cause, f"{line} init=/bin/sh.{draw.word()}", draw)
    names = [f"RTMR{r}" for r in range(4) if actual.registers[f"RTMR{r}"] != expected.registers[f"RTMR{r}"]]
    authority = LabAuthority.create(NOW)
    collateral = authority.collateral(NOW)
    files = dict(files_of("given", actual.quote(authority), actual.log, collateral, authority.root_der))
    signed = frozenset(files)
    reference = {
        "registers": expected.registers,
        "nonce": expected.report_data.hex(),
        "events": [
            [f"RTMR{register}", name, value.hex()]
            for register, row in expected.events.items()
            for name, value in row
        ],
    }
    files["reference.json"] = canonical(reference, indent=1)
    index = _first_difference(expected, actual)
    return Variant(
        parameters={"evidence": "given", "reference": "reference.json", "now": NOW},
        files=files,
        expected={
            "register": names[0],
            "event": index,
            "cause": cause,
            "value": _digest_at(actual, index),
        },
        signed=signed,
    )


def _changed(expected: MadeUp, cause: str, line: str, draw: Draw) -> MadeUp:
    if cause == "another command line":
        return expected.with_event(2, 0, "command line", digest(line))
    if cause == "another initrd":
        return expected.with_event(2, 1, "initrd", digest(f"initrd {draw.word()}"))
    if cause == "another kernel":
        return expected.with_event(1, 0, "kernel", digest(f"kernel {draw.word()}"))
    if cause == "another Secure Boot setting":
        name = expected.events[0][0][0]
        return expected.with_event(0, 0, name, digest(f"{name} off {draw.word()}"))
    row = [*expected.events[3], ("application", digest(f"application {draw.word()}"))]
    return MadeUp(expected.mrtd, {**expected.events, 3: row}, expected.report_data)


def _first_difference(expected: MadeUp, actual: MadeUp) -> int:
    """The number in the log of the first event that is not expected in its place."""
    index = 0
    for register, row in actual.events.items():
        for number, (_, value) in enumerate(row):
            index += 1
            wanted = expected.events[register]
            if number >= len(wanted) or wanted[number][1] != value:
                return index
    raise AssertionError("nothing was changed")


def _digest_at(actual: MadeUp, index: int) -> str:
    values = [value for row in actual.events.values() for _, value in row]
    return values[index - 1].hex()


EXERCISE = Exercise(
    name="rejected",
    title="Explain a rejected attestation",
    chapter="04-attest",
    questions=(
        Question(
            "register",
            "Which register is not as it should be?",
            1,
            LineOfText(_REGISTERS),
            ("Compare the quote's registers with those in reference.json.",),
        ),
        Question(
            "event",
            "Which event is the first one that differs? (its number in the log)",
            1,
            Number(1, 100),
            (
                "reference.json lists the expected events of each register in order.",
                "Only look at the events of the register that differs.",
            ),
        ),
        Question(
            "cause",
            "What is the cause?",
            1,
            LineOfText(_CAUSES),
            (
                "The name of the event says what it measures.",
                "A register with one event more than expected was extended once more.",
            ),
        ),
        Question(
            "value",
            "The digest of that event in the log",
            4,
            Hex(48),
            ("`log.events[number - 1].digest().hex()`",),
            unique=True,
        ),
    ),
    make=_make,
    check=check_answers,
    solve=solve_by_answers,
)
