"""The log of a run, told as stages and judged: pure, fed in pieces of any size, bounded whatever it is fed.

A run writes several streams at once (the console, the serial port, the output of ``make``). Where one is cut,
and which of them comes first, changes nothing but the times. The verdict rests on three things together: the
exit code, the markers that must be there, and the patterns of failure; never on the exit code alone, since a
panic may end with the code of success.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from labkit.bootlog._stages import STAGES
from labkit.bootlog.exit_codes import Layer, MakeEnd, meaning
from labkit.bootlog.failures import FAILURES, HANGS, Failure, FailureKind
from labkit.bootlog.timeline import Stage, Timeline
from labkit.host.wrapping import without_common
from labkit.show import clean, columns, one_line
from labkit.show.markup import join, pre, table
from labkit.show.svg import bars


class BootOutcome(StrEnum):
    """What became of a run."""

    BOOTED = "BOOTED"
    PANIC = "PANIC"
    FAILED = "FAILED"
    HANG = "HANG"
    RUNNING = "RUNNING"


class Goal(StrEnum):
    """What a run must reach: a shell's prompt, or the line that ends a self-test; either where not said."""

    ANY = "any"
    PROMPT = "prompt"
    SMOKE = "smoke"


_ORDER = {row.name: number for number, row in enumerate(STAGES)}
_ENDS = frozenset({"prompt", "smoke"})
_PROMPT = re.compile(r"^~ # ")
# Behind the prompt, where floods come from, only these are looked for.
_PANICS = tuple(row for row in FAILURES if row.kind is FailureKind.PANIC and not row.detail)
# The compiler quotes source code behind the number of its line.
_QUOTED_SOURCE = re.compile(r"^\s{0,12}\d{0,7}\s{1,3}[|│](?:\s|$)|^\s{1,12}--> ")
_TRACE = re.compile(r"Printing stack trace:|\d{1,3}: fn 0x")
_MAKE_SPEAKS = re.compile(r"^make(?:\[\d+\])?: ")
_GUEST_STAGES = frozenset({"firmware", "grub", "efi-stub", "tdx", "ostd", "thread", "initramfs", "init"})
_ERROR_WORDS = re.compile(
    r"(?i)\b(?:error|fatal|failed|failure|cannot|can't|could not|not found|denied|no such|unable to|undefined"
    r"|invalid|killed|terminated|unknown option)\b"
)
_START_SECONDS = 300.0
# Stages of tools last as long as they speak: their deadline counts from the last output.
_TALKING = frozenset({"build", "image"})
_LINE, _OVERLAP, _PROMPT_BYTES = 8192, 512, 256
_PANIC_LINES = 60
_KEPT_LINES = 12


@dataclass(frozen=True)
class BootReport:
    """What a run's log and exit code say together.

    stage: the last one that began. sentence: the outcome in words. remedy, reference: of the known failure,
    empty where there is none. failure: its id. lines: the lines of the log that the verdict rests on.
    """

    outcome: BootOutcome
    goal: Goal
    stage: str
    sentence: str
    timeline: Timeline
    remedy: str = ""
    failure: str | None = None
    reference: str = ""
    exit_code: int | None = None
    lines: tuple[str, ...] = ()

    @property
    def booted(self) -> bool:
        """The run reached its goal, and nothing speaks against it."""
        return self.outcome is BootOutcome.BOOTED

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {
            "outcome": self.outcome.value,
            "goal": self.goal.value,
            "stage": self.stage,
            "sentence": self.sentence,
            "remedy": self.remedy or None,
            "failure": self.failure,
            "reference": self.reference or None,
            "exit_code": self.exit_code,
            "stages": self.timeline.to_list(),
            "lines": list(self.lines),
        }

    def __repr__(self) -> str:
        return f"BootReport({self.outcome}, stage={self.stage!r}, failure={self.failure!r})"

    def __str__(self) -> str:
        return f"{self.timeline}\n{columns(self._rows())}"

    def _repr_html_(self) -> str:
        spans = [(stage.name, stage.start, stage.seconds) for stage in self.timeline.stages]
        return join([bars(spans), table(self._rows()), pre("\n".join(self.lines))])

    def _rows(self) -> list[tuple[str, str]]:
        rows = [(self.outcome.value, self.sentence)]
        rows += [("remedy", self.remedy)] if self.remedy else []
        rows += [("see", self.reference)] if self.reference else []
        return rows


class _Stream:
    """One stream: its unfinished line, and what the lines before it mean for the next."""

    def __init__(self) -> None:
        self.rest = b""
        self.at_prompt = False
        self.panic_left = 0
        self.panic_next = False


class BootLogReader:
    """Follows the log of one run. Feed it, ask it, and let it judge at the end."""

    def __init__(self, goal: Goal = Goal.ANY, first_stage: str = "start", patience: float = 1.0) -> None:
        """``first_stage`` lasts from second 0 to the first mark; ``patience`` stretches every deadline."""
        self.goal = goal
        self._first = first_stage
        self._patience = patience
        self._streams: dict[str, _Stream] = {}
        self._begun: dict[str, float] = {}
        self._failure: Failure | None = None
        self._panicked = False
        self._fatal_at: float | None = None
        self._panic_says = ""
        self._panic_at = ""
        self._lines: list[str] = []
        self._make = MakeEnd()
        self._heard = 0.0
        self._error_line = ""
        self._spoken_line = ""
        self.last_line = ""

    @property
    def stage(self) -> str:
        """The furthest stage that has begun."""
        return max(self._begun, key=_ORDER.__getitem__, default=self._first)

    @property
    def stages(self) -> tuple[str, ...]:
        """Every stage that has begun, in order."""
        return tuple(sorted(self._begun, key=_ORDER.__getitem__))

    @property
    def failure(self) -> Failure | None:
        """The heaviest known failure so far; it need not be fatal."""
        return self._failure

    @property
    def fatal_at(self) -> float | None:
        """When the first fatal line came; more lines may still say why."""
        return self._fatal_at

    @property
    def reached(self) -> bool:
        """The goal has been reached."""
        wanted = _ENDS if self.goal is Goal.ANY else {self.goal.value}
        return bool(wanted & self._begun.keys())

    def feed(self, stream: str, data: bytes, now: float) -> None:
        """Take more of a stream, which arrived ``now`` seconds after the start."""
        state = self._streams.setdefault(stream, _Stream())
        self._heard = max(self._heard, now) if data.strip() else self._heard
        *lines, state.rest = (state.rest + data).split(b"\n")
        for line in lines:
            self._take(state, self._cut(state, line, now), now)
        state.rest = self._cut(state, state.rest, now)
        if len(state.rest) <= _PROMPT_BYTES and not state.at_prompt and _PROMPT.search(_text(state.rest)):
            # A prompt has no end of line.
            self._begin(state, "prompt", now)

    def deadline(self) -> float | None:
        """When the stage that runs must have ended, in seconds since the start; None at the goal."""
        if self.reached or self._panicked:
            return None
        stage = self.stage
        allowed = STAGES[_ORDER[stage]].seconds if stage in _ORDER else _START_SECONDS
        begun = self._begun.get(stage, 0.0)
        if stage in _TALKING or stage not in _ORDER:
            begun = max(begun, self._heard)
        return begun + (allowed or _START_SECONDS) * self._patience

    def overdue(self, now: float) -> bool:
        """The stage that runs has passed its deadline."""
        deadline = self.deadline()
        return deadline is not None and now >= deadline

    def timeline(self, now: float) -> Timeline:
        """The stages until ``now``, without gaps."""
        names = [self._first, *(name for name in self.stages if name != self._first)]
        starts = [0.0]
        for name in names[1:]:
            later = [self._begun[other] for other in names[1:] if _ORDER[other] >= _ORDER[name]]
            starts.append(max(starts[-1], min(later)))
        ends = [*starts[1:], max(now, starts[-1])]
        pairs = zip(names, starts, ends, strict=True)
        return Timeline(tuple(Stage(name, start, end - start) for name, start, end in pairs))

    def finish(
        self,
        now: float,
        exit_code: int | None = None,
        layer: Layer = Layer.QEMU,
        *,
        hung: bool | None = None,
        outside: str = "",
        limit: float | None = None,
    ) -> BootReport:
        """Judge the run; ``exit_code`` None: it has not ended. ``hung`` None: as the deadlines say.

        outside: what somebody else did to the run, in a clause; it then explains the end. limit: the seconds
        that were given for all of it, where those are over.
        """
        for state in self._streams.values():
            self._take(state, state.rest, now)
            state.rest = b""
        stands = self.overdue(now) if hung is None else hung
        outcome, words, cause = self._judge(exit_code, layer, stands and exit_code is None, outside, limit)
        return BootReport(
            outcome=outcome,
            goal=self.goal,
            stage=self.stage,
            sentence=words,
            timeline=self.timeline(now),
            remedy=cause[1],
            failure=cause[0],
            reference=cause[2],
            exit_code=exit_code,
            lines=tuple(self._lines),
        )

    def _cut(self, state: _Stream, line: bytes, now: float) -> bytes:
        """Take a line that does not end in pieces that overlap, so that nothing grows without bound."""
        at = 0
        while len(line) - at > _LINE:
            self._take(state, line[at : at + _LINE], now)
            at += _LINE - _OVERLAP
        return line[at:]

    def _take(self, state: _Stream, raw: bytes, now: float) -> None:
        line = _text(raw)
        bare = line.strip()
        if not bare:
            return
        if not state.at_prompt:
            self.last_line = bare[:200]
            if not _MAKE_SPEAKS.match(line):
                self._spoken_line = bare[:200]
                self._error_line = bare[:200] if _ERROR_WORDS.search(bare) else self._error_line
            for row in STAGES:
                if row.expression.search(line):
                    self._begin(state, row.name, now)
        self._make.hear(line, at_prompt=state.at_prompt)
        self._panic_message(state, bare)
        rows = _PANICS if state.at_prompt and not state.panic_left else FAILURES
        rows = () if _QUOTED_SOURCE.match(line) else rows
        for failure in rows:
            if (match := failure.expression.search(line)) and self._counts(failure, state):
                self._found(failure, state, bare, now, match.groupdict().get("says"))

    def _begin(self, state: _Stream, name: str, now: float) -> None:
        self._begun.setdefault(name, now)
        state.at_prompt |= name == "prompt"

    def _counts(self, failure: Failure, state: _Stream) -> bool:
        if state.at_prompt and failure.kind is not FailureKind.PANIC:
            return False  # what the guest's own programs print proves nothing about the boot
        if failure.detail and not state.panic_left:
            return False
        return not failure.before or failure.before not in self._begun

    def _found(self, failure: Failure, state: _Stream, line: str, now: float, says: str | None) -> None:
        if failure.kind is FailureKind.PANIC and not failure.detail:
            state.panic_left = _PANIC_LINES
            state.panic_next = (state.panic_next or not failure.silent) and not says
            self._panic_says = self._panic_says or one_line(says or "", 160)
        if failure.fatal:
            self._panicked |= failure.kind is FailureKind.PANIC
            self._fatal_at = now if self._fatal_at is None else self._fatal_at
        self._keep(line)
        if self._failure is None or failure.weight > self._failure.weight:
            self._failure = failure

    def _panic_message(self, state: _Stream, line: str) -> None:
        """Keep what a panic says, its next line, and where: the first line that begins with ``at``."""
        if not state.panic_left:
            return
        state.panic_left -= 1
        if state.panic_next and _TRACE.match(line):
            pass  # the message of the panic is missing: what follows it is here already
        elif state.panic_next and not self._panic_says:
            self._panic_says = one_line(line, 160)
            self._keep(line)
        elif not self._panic_at and re.match(r"at \S{1,200}:\d", line):
            self._panic_at = one_line(line, 200)
            self._keep(line)
        state.panic_next = False

    def _keep(self, line: str) -> None:
        kept = one_line(line, 300)
        if len(self._lines) < _KEPT_LINES and kept not in self._lines:
            self._lines.append(kept)

    def _judge(
        self, exit_code: int | None, layer: Layer, hung: bool, outside: str, limit: float | None
    ) -> tuple[BootOutcome, str, tuple[str | None, str, str]]:
        failure = self._failure
        cause = (failure.id, failure.remedy, failure.reference) if failure else (None, "", "")
        where = f"in stage {self.stage}"
        if self._panicked:
            message = f"{self._panic_says} {self._panic_at}".strip()
            said = f": {message}" if message else ""
            what = failure.sentence if failure else "the kernel panicked"
            return BootOutcome.PANIC, f"Panic {where}: {what}{said}.", cause
        began = bool(_GUEST_STAGES & self._begun.keys())
        code = meaning(exit_code, layer, self._make, guest_began=began, erred=bool(self._error_line))
        if outside:
            return BootOutcome.FAILED, f"Failed {where}: {outside}.", (None, "", "")
        if self.reached and code in (None, "success"):
            end = "the test passed" if "smoke" in self._begun else "the shell's prompt is there"
            return BootOutcome.BOOTED, f"Booted: {end}.", (None, "", "")
        if failure is not None and (failure.fatal or code is not None):
            return BootOutcome.FAILED, f"Failed {where}: {failure.sentence}.", cause
        if code is not None:
            ended = f"exit code {exit_code}"
            if code == "success":
                why = (
                    f"the run ended ({ended}) before it reached its goal, and a code of success is not enough"
                )
            elif self.reached:
                why = f"the goal was reached, but {ended} says that the guest failed afterwards"
            else:
                why = f"it ended with {ended}, which means {code}"
            return BootOutcome.FAILED, f"Failed {where}: {why}; {self._error()}.", cause
        if hung and limit is not None:
            over = f"the {limit:g} s that were given for the boot are over"
            words = f"Hang {where}: {over}; {self._last()}."
            return BootOutcome.HANG, words, (None, "Give it more time with --timeout.", "")
        if hung:
            known = next((row for row in HANGS if row.fits(self.stage, self.last_line)), None)
            met = failure.sentence if failure else "nothing more came within the stage's deadline"
            what = known.sentence if known else met
            words = f"Hang {where}: {what}; {self._last()}."
            return BootOutcome.HANG, words, (known.id, known.remedy, known.reference) if known else cause
        return BootOutcome.RUNNING, f"Not decided {where}: {self._last()}.", cause

    def _last(self) -> str:
        return f"the last line was {self.last_line!r}" if self.last_line else "it printed nothing"

    def _error(self) -> str:
        """The line that says what went wrong, else the last one; make's own echo where there is no other."""
        if self._error_line and self._error_line != self.last_line:
            return f"the last error was {self._error_line!r}"
        return f"the last line was {self._spoken_line!r}" if self._spoken_line else self._last()


def classify(
    streams: Mapping[str, bytes],
    exit_code: int | None = None,
    layer: Layer = Layer.QEMU,
    goal: Goal = Goal.ANY,
    *,
    hung: bool = False,
) -> BootReport:
    """Judge whole logs by name of stream; ``hung``: the run was ended because it stood still.

    What a tool put before every line of a stream (a time, a container's name) is taken off.
    """
    reader = BootLogReader(goal)
    for name, data in streams.items():
        reader.feed(name, _unwrapped(data), 0.0)
    return reader.finish(0.0, exit_code, layer, hung=hung)


def _unwrapped(data: bytes) -> bytes:
    """A stream without what a tool put before every line; a carriage return stood before that."""
    lines = [_text(line.replace(b"\r", b"")) for line in data.split(b"\n")]
    bare = without_common(lines)
    return "\n".join(bare).encode() if bare is not lines else data


def _text(raw: bytes) -> str:
    return clean(raw.decode("utf-8", "replace"))
