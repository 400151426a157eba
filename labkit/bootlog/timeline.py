"""The boot log as stages: what the machine was doing when, read off the markers it prints."""

from __future__ import annotations

import codecs
import itertools
import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from labkit.show import clean, columns
from labkit.show.svg import bars

_MORE_TIME = "LABKIT_PATIENCE=3 waits three times as long; console.log in the run directory says more."
_SEE_LOGS = "console.log and qemu.log in the run directory say more."


@dataclass(frozen=True)
class Sign:
    """A line that says why a boot fails, in its group 1, and what to do about it."""

    pattern: str
    remedy: str = _SEE_LOGS

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """The compiled pattern."""
        return re.compile(self.pattern)

    def said(self, line: str) -> str | None:
        """What the line says; None where it is not of this kind."""
        found = self.expression.search(line)
        return found[1].strip().removesuffix(".") if found else None


@dataclass(frozen=True)
class Mark:
    """The line that begins a stage, and how long the stage before it may take (seconds)."""

    stage: str
    pattern: str
    deadline: float


@dataclass(frozen=True)
class GuestType:
    """What is known about a guest: the stages of its boot log, and how it says that it failed.

    marks: the lines that begin the stages after the first, each with the longest wait (seconds, TCG).
    failures: patterns of lines after which the boot cannot succeed; group 1 is what to tell the user.
    dead_ends: lines behind which no shell comes any more; once it is there, they mean nothing.
    causes: lines that mean nothing where the boot goes on, and say why a failure behind them came.
    questions: last lines at which a boot stands still because it waits for somebody.
    patience: stretches every wait.
    handover: what is said when the kernel has just taken over from the firmware; see ``Guest``.
    """

    name: str
    first_stage: str
    marks: tuple[Mark, ...]
    failures: tuple[str, ...]
    dead_ends: tuple[Sign, ...] = ()
    causes: tuple[Sign, ...] = ()
    questions: tuple[Sign, ...] = ()
    power_off: str = "poweroff -f"
    reseeds: bool = True
    patience: float = 1.0
    handover: str = ""

    def watch(self) -> StageTracker:
        """Follow a boot from power-on."""
        return StageTracker(self)

    def resumed(self) -> StageTracker:
        """Follow a machine that goes on where it was saved."""
        return StageTracker(replace(self, first_stage="restore", marks=()))


@dataclass(frozen=True)
class Stage:
    """One stage of a boot: its start and length in seconds since power-on."""

    name: str
    start: float
    seconds: float


@dataclass(frozen=True)
class Timeline:
    """The stages of one boot, in order, without gaps."""

    stages: tuple[Stage, ...]

    @property
    def seconds(self) -> float:
        """From power-on to the end of the last stage."""
        return sum(stage.seconds for stage in self.stages)

    def __repr__(self) -> str:
        return f"Timeline({' → '.join(stage.name for stage in self.stages)})"

    def __str__(self) -> str:
        return columns([(stage.name, f"{stage.seconds:6.2f} s") for stage in self.stages])

    def _repr_html_(self) -> str:
        return bars([(stage.name, stage.start, stage.seconds) for stage in self.stages])

    def to_list(self) -> list[dict[str, Any]]:
        """The stages as the contract's JSON shows them."""
        return [{"name": stage.name, "seconds": round(stage.seconds, 3)} for stage in self.stages]


class StageTracker:
    """Follows a boot log, fed in pieces of any size: when each stage began, and whether it failed."""

    def __init__(self, profile: GuestType) -> None:
        """Begin in the profile's first stage at second 0; its marks follow in order, some may be missing."""
        self._begun: list[tuple[str, float]] = [(profile.first_stage, 0.0)]
        self._marks = [replace(mark, deadline=mark.deadline * profile.patience) for mark in profile.marks]
        self._failures = tuple(Sign(pattern) for pattern in profile.failures)
        self._dead_ends, self._causes = profile.dead_ends, profile.causes
        self._questions = profile.questions
        self._cause = ""
        self._remedy = _SEE_LOGS
        self._lines: dict[str, str] = {}
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self.last_line = "(nothing)"
        self.failure: str | None = None

    @property
    def stage(self) -> str:
        """The stage that is running."""
        return self._begun[-1][0]

    @property
    def began(self) -> float:
        """When it began, in seconds since power-on."""
        return self._begun[-1][1]

    @property
    def expected(self) -> Mark | None:
        """The next mark; None when the last stage has begun."""
        return self._marks[0] if self._marks else None

    @property
    def reached(self) -> bool:
        """The last stage has begun, and nothing before it said that it is none."""
        return not self._marks and self.failure is None

    def feed(self, stream: str, data: bytes, now: float) -> None:
        """Take more of a stream, which arrived ``now`` seconds after power-on."""
        decoder = self._decoders.setdefault(stream, codecs.getincrementaldecoder("utf-8")("replace"))
        *lines, last = (self._lines.get(stream, "") + decoder.decode(data)).split("\n")
        for line in lines:
            self._take(clean(line), now)
        # A mark counts before its line has ended, as a prompt does; a flood without newlines is bounded.
        prompt = clean(last)
        self._remember(prompt)
        self._look_for_mark(prompt, now)
        self._lines[stream] = last[-1000:]

    def complaint(self, now: float, ended: bool, exit_code: int | None) -> tuple[str, str] | None:
        """Why the boot cannot succeed any more, and what to do about it; None while it can."""
        if self.failure is not None:
            before = f" Before that: {self._cause}." if self._cause else ""
            return f"The guest failed in stage {self.stage}: {self.failure}.{before}", self._remedy
        last = f"the last line was {self.last_line!r}."
        if ended:
            return f"QEMU ended in stage {self.stage}; {last}", _SEE_LOGS
        if self.expected is not None and self.due(now) <= 0:
            within = f"within {self.expected.deadline:g} s"
            waited = f"stage {self.expected.stage} was waited for, a line like {self.expected.pattern!r}"
            remedies = (sign.remedy for sign in self._questions if sign.said(self.last_line))
            return f"Stage {self.stage} did not end {within}: {waited}; {last}", next(remedies, _MORE_TIME)
        return None

    def due(self, now: float) -> float:
        """Seconds until the running stage passes its deadline."""
        return self.began + self.expected.deadline - now if self.expected else 0.0

    def begin(self, stage: str, now: float) -> None:
        """Begin a stage that no line of the log announces."""
        self._begun.append((stage, now))
        self._marks.clear()

    def timeline(self, end: float) -> Timeline:
        """The stages so far, the running one ending at ``end`` seconds."""
        pairs = itertools.pairwise([*self._begun, ("", end)])
        return Timeline(tuple(Stage(name, start, after - start) for (name, start), (_, after) in pairs))

    def _take(self, line: str, now: float) -> None:
        self._remember(line)
        if self.failure is None:
            for sign in (*self._failures, *(() if self.reached else self._dead_ends)):
                if said := sign.said(line):
                    self.failure = said
                    self._remedy = self._remedy if self._cause else sign.remedy
                    break
        if self.failure is None and not self._cause:
            for sign in self._causes:
                if said := sign.said(line):
                    self._cause, self._remedy = said, sign.remedy
                    break
        self._look_for_mark(line, now)

    def _remember(self, line: str) -> None:
        if line.strip():
            self.last_line = line.strip()[:200]

    def _look_for_mark(self, line: str, now: float) -> None:
        for skipped, mark in enumerate(self._marks):
            if re.search(mark.pattern, line):
                self._begun.append((mark.stage, now))
                del self._marks[: skipped + 1]
                return
