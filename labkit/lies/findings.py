"""What a guest made of each lie, as classes of outcome; and the findings that were recorded earlier."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

from labkit.settings import Trust
from labkit.show import columns, stamp
from labkit.show.markup import join, pre, table

_HEAD = ("device", "lie", "outcome", "the kernel says")


@dataclass(frozen=True)
class LieFinding:
    """One lie and what came of it. says: the kernel's own words about it; empty where it says nothing."""

    device: str
    lie: str
    outcome: str
    says: str = ""

    @property
    def row(self) -> tuple[str, ...]:
        """The finding as cells of a table."""
        return (self.device, self.lie, self.outcome, self.says or "nothing")


@dataclass(frozen=True)
class Findings:
    """What one guest made of the lies. origin: a boot of just now, or a record."""

    guest: str
    findings: tuple[LieFinding, ...]
    origin: str

    def of(self, device: str) -> Findings:
        """Those about one kind of device."""
        kept = tuple(finding for finding in self.findings if finding.device == device)
        return Findings(self.guest, kept, self.origin)

    def outcome(self, device: str, lie: str) -> str:
        """The outcome of one lie.

        Raises:
            KeyError: it was not told.
        """
        return {(found.device, found.lie): found.outcome for found in self.findings}[device, lie]

    def to_dict(self) -> dict[str, Any]:
        """The findings as JSON types."""
        return {**asdict(self), "findings": [asdict(finding) for finding in self.findings]}

    @property
    def _lines(self) -> tuple[str, str]:
        return f"{stamp(Trust.NONE)}{self.guest}", f"These findings are {self.origin}."

    def __str__(self) -> str:
        head, foot = self._lines
        return "\n".join([head, columns([_HEAD, *(finding.row for finding in self.findings)]), foot])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, foot = self._lines
        return join([pre(head), table([finding.row for finding in self.findings], head=_HEAD), pre(foot)])


def recorded(guest: str, why: str) -> Findings | None:
    """What was found earlier, in many boots; ``why`` it is not found out now. None where nothing was."""
    entry = json.loads(files("labkit.lies").joinpath("recorded.json").read_text()).get(guest)
    if entry is None:
        return None
    origin = f"RECORDED, {entry['runs']} of {entry['runs']} boots on {entry['date']}, and not made now: {why}"
    return Findings(entry["title"], tuple(LieFinding(**row) for row in entry["findings"]), origin)


def record_of(title: str, runs: Sequence[Findings], date: str) -> dict[str, Any]:
    """A row of ``recorded.json``.

    Raises:
        ValueError: two runs differ.
    """
    if len({run.findings for run in runs}) != 1:
        raise ValueError(f"the runs of {title} differ")
    rows = [asdict(finding) for finding in runs[0].findings]
    return {"title": title, "runs": len(runs), "date": date, "findings": rows}
