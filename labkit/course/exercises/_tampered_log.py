"""Replay an event log, and find the event that was changed after the boot."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from labkit.course._forms import Hex, LineOfText, Number
from labkit.course.draw import Draw
from labkit.course.model import Exercise, Question, Variant, canonical, check_answers, solve_by_answers
from labkit.measure import EventLog, rtmrs
from labkit.measure.event_log import LogEvent, LogFormat, LogHeader
from labkit.measure.event_types import EventType

_SHA384 = 0x000C
_NAMES = ("RTMR0", "RTMR1", "RTMR2", "RTMR3")
_KINDS = ("digest changed", "text changed")


def _event(index: int, register: int, kind: int, data: bytes) -> LogEvent:
    return LogEvent(index, register + 1, kind, ((_SHA384, hashlib.sha384(data).digest()),), data)


def make_log(draw: Draw) -> EventLog:
    """A CCEL of a made-up boot: a dozen events in all four registers, every text with its digest."""
    actions = (
        b"Calling EFI Application from Boot Option",
        b"Exit Boot Services Invocation",
        b"Exit Boot Services Returned with Success",
    )
    rows: list[tuple[int, int, bytes]] = [(1, EventType.EV_EFI_ACTION, action) for action in actions]
    rows += [(register, EventType.EV_SEPARATOR, bytes(4)) for register in (0, 1)]
    rows += [
        (register, EventType.EV_IPL, f"{draw.word()} loaded by {draw.word()}".encode())
        for register in (0, 1, 2, 2, 3, 3)
    ]
    rows.append((2, EventType.EV_IPL, f"kernel_cmdline: console=ttyS0 seat={draw.word()}".encode()))
    return EventLog(
        LogFormat.CCEL,
        LogHeader(register=1),
        tuple(_event(index, *row) for index, row in enumerate(draw.shuffle(rows), 1)),
    )


def _make(draw: Draw) -> Variant:
    true = make_log(draw.child("log"))
    registers = [value.hex() for value in rtmrs(true)]
    kind = draw.choice(_KINDS)
    # Free text is what a forger changes; separators and actions have only one right text.
    candidates = [event for event in true.events if event.type == EventType.EV_IPL]
    victim = draw.choice(candidates)
    if kind == "digest changed":
        data = victim.data.replace(b"-", b"_", 1)
        forged = replace(victim, data=data, digests=((_SHA384, hashlib.sha384(data).digest()),))
    else:
        forged = replace(victim, data=victim.data.replace(b"-", b"_", 1))
    events = tuple(forged if event is victim else event for event in true.events)
    log = replace(true, events=events)
    register = victim.register - 1
    return Variant(
        parameters={"log": "eventlog.bin", "registers": "registers.json"},
        files={
            "eventlog.bin": log.encode(),
            "registers.json": canonical(dict(zip(_NAMES, registers, strict=True)), indent=1),
        },
        expected={
            "event": victim.index,
            "register": _NAMES[register],
            "kind": kind,
            "replayed": rtmrs(log)[register].hex(),
            "digest": dict(victim.digests)[_SHA384].hex(),
        },
        hidden={"log": true.encode()},
    )


EXERCISE = Exercise(
    name="tampered-log",
    title="Replay a log, and find the event that was changed",
    chapter="03-boot-the-tdvm",
    questions=(
        Question(
            "event",
            "Which event was changed? (its number in the log)",
            1,
            Number(1, 1000),
            (
                "Compare every event's digest with the SHA-384 of its text.",
                "If all texts fit their digests, then the digest was changed too: which register is wrong?",
                "A changed event looks unlike its neighbours: the forger wrote _ where the others have -.",
            ),
        ),
        Question(
            "register",
            "Which register does that event belong to?",
            1,
            LineOfText(_NAMES),
            ("In a CCEL the register numbers start with 1 for RTMR0.",),
        ),
        Question(
            "kind",
            "Does the replay notice it, or only the text?",
            1,
            LineOfText(_KINDS),
            (
                "If only the text was changed, the replay still gives the registers of the quote.",
                "Replay the log and compare with registers.json: is any register different?",
            ),
        ),
        Question(
            "replayed",
            "What does that register replay to, from the log as you have it?",
            2,
            Hex(48),
            (
                "register = SHA-384(register + digest), from 48 zero bytes, for each of its events in order.",
                "`labkit eventlog eventlog.bin` does it; do it by hand once.",
            ),
            unique=True,
        ),
        Question(
            "digest",
            "What was the digest of the true event?",
            2,
            Hex(48),
            (
                "If only the text was changed, the digest in the log is still the true one.",
                "Otherwise undo the forger's change of one character in the text, and hash it; "
                "replaying with that digest must give the register in registers.json.",
            ),
            unique=True,
        ),
    ),
    make=_make,
    check=check_answers,
    solve=solve_by_answers,
)
