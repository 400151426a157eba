"""The words of host verification: verdicts, statuses, facts and the kernel log as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Value = bool | int | str | tuple[str, ...]


class HostVerdict(StrEnum):
    """What a host check may conclude. Unknown is not "disabled"."""

    READY = "READY"
    NOT_READY = "NOT_READY"
    INDETERMINATE = "INDETERMINATE"

    @property
    def exit_code(self) -> int:
        """The exit status of ``labkit verify``: 0, 1 or 2."""
        return {"READY": 0, "NOT_READY": 1, "INDETERMINATE": 2}[self.value]


class CheckStatus(StrEnum):
    """The outcome of one check."""

    PASS = "PASS"
    FAIL = "FAIL"
    UNKNOWN = "UNKNOWN"
    SKIP = "SKIP"


class Missing(StrEnum):
    """Why a fact has no value."""

    ABSENT = "absent"  # looked where it would be: it is not there
    DENIED = "denied"  # it may be there, but this login may not read it
    UNKNOWN = "unknown"  # not looked at, or the place to look at does not exist here


@dataclass(frozen=True)
class Fact:
    """One thing read about a host: parsed value, where it came from, raw text, or why there is none."""

    source: str
    value: Value | None = None
    raw: str = ""
    missing: Missing | None = None
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The fact as JSON data; tuples become lists, empty fields are left out."""
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        document = {"source": self.source, "value": value, "raw": self.raw, "why": self.why}
        if self.missing:
            document["missing"] = self.missing.value
        # An empty value is a value: /sys/power/state of a machine that cannot sleep.
        return {
            key: entry
            for key, entry in document.items()
            if entry is not None and (entry != "" or key == "value")
        }


class LogState(StrEnum):
    """How far the kernel log could be read."""

    READ = "read"
    EMPTY = "empty"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class LogLine:
    """One line of interest: seconds since boot where the line says so, message, how often it came."""

    text: str
    seconds: float | None = None
    count: int = 1


@dataclass(frozen=True)
class KernelLog:
    """The lines of the current boot that host verification can use.

    first_seconds: time stamp of the first line of this boot that has one.
    from_boot: the log reaches back to the kernel's first lines.
    boots: boots found in the log; only the last one is kept.
    unread: lines with the kernel's words about TDX that cannot be taken for its own; no proof.
    machines: names of those whose lines tell different things, where the log has several; it proves nothing.
    """

    state: LogState
    source: str
    lines: tuple[LogLine, ...] = ()
    why: str = ""
    total_lines: int = 0
    first_seconds: float | None = None
    from_boot: bool = False
    boots: int = 1
    unread: tuple[LogLine, ...] = ()
    machines: tuple[str, ...] = ()

    @property
    def given(self) -> bool:
        """It is a file, not what the running machine offers."""
        return not self.source.startswith(("/dev/kmsg", "journalctl ", "kernel log"))

    def to_dict(self) -> dict[str, Any]:
        """The log as JSON data."""
        return {
            "state": self.state.value,
            "source": self.source,
            "why": self.why,
            "total_lines": self.total_lines,
            "first_seconds": self.first_seconds,
            "from_boot": self.from_boot,
            "boots": self.boots,
            "lines": _rows(self.lines),
            "unread": _rows(self.unread),
            "machines": list(self.machines),
        }


def _rows(lines: tuple[LogLine, ...]) -> list[list[Any]]:
    return [[line.seconds, line.text, line.count] for line in lines]


NOT_JSON = "it is not JSON"
"""How the reason begins for which a configuration counts for nothing."""

UNREAD_LOG = KernelLog(LogState.UNREADABLE, "kernel log", why="not looked at")


@dataclass(frozen=True)
class Facts:
    """Everything read about one host; what `collect` gives, `save` writes and `diagnose` reads.

    emulated: the facts were made up for an exercise or a test; every view then says EMULATED.
    """

    items: Mapping[str, Fact] = field(default_factory=dict)
    log: KernelLog = UNREAD_LOG
    emulated: bool = False

    def get(self, name: str) -> Fact:
        """The fact of that name, or one that says nobody looked."""
        return self.items.get(name) or Fact(name, missing=Missing.UNKNOWN, why="not collected")

    def to_dict(self) -> dict[str, Any]:
        """The facts as one JSON document, sorted by name."""
        return {
            "format": "labkit-host-facts/1",
            "emulated": self.emulated,
            "facts": {name: self.items[name].to_dict() for name in sorted(self.items)},
            "log": self.log.to_dict(),
        }

    def __repr__(self) -> str:
        known = sum(fact.value is not None for fact in self.items.values())
        return f"Facts({known} of {len(self.items)} known, log {self.log.state.value})"
