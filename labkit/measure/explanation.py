"""Explain: expected events beside logged ones, register by register, with the rule behind a difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from labkit.measure._hypotheses import why
from labkit.measure._mrtd import PageOrder, mrtd
from labkit.measure.describe import DataCheck, tagged, variable
from labkit.measure.event_log import EventLog, LogEvent
from labkit.measure.event_types import EventType
from labkit.measure.grub import event_name
from labkit.measure.prediction import BootInputs, ExpectedEvent, Part, Prediction
from labkit.measure.replay import rtmrs
from labkit.measure.rules import RegisterKind, Separators
from labkit.measure.tdvf import Tdvf
from labkit.show import columns
from labkit.show.measure import diff_view

_MAX_EVENTS = 2000


class Agreement(StrEnum):
    """How an expected and a logged event relate."""

    SAME = "same"
    DIFFERS = "differs"
    MISSING = "missing"
    EXTRA = "extra"
    NOT_PREDICTED = "not predicted"


@dataclass(frozen=True)
class Row:
    """An expected event beside the logged one in its place; either may be missing."""

    register: int
    status: Agreement
    expected: ExpectedEvent | None
    logged: LogEvent | None
    why: str = ""

    @property
    def label(self) -> str:
        """The event in a few words."""
        if self.expected is not None:
            return self.expected.label
        if self.logged is None:
            return ""
        lies = self.logged.data_check is DataCheck.DIFFERS
        return f"{self.logged.description}{_LIES if lies else ''}"

    def to_dict(self) -> dict[str, Any]:
        """The row for programs."""
        return {
            "register": f"RTMR{self.register}",
            "event": self.label,
            "index": self.logged.index if self.logged else None,
            "status": self.status.value,
            "expected": _hex(self.expected.digest if self.expected else None),
            "logged": _hex(self.logged.digest() if self.logged else None),
            "why": self.why,
        }


@dataclass(frozen=True)
class Explanation:
    """All rows of all registers, and the values they lead to."""

    rows: tuple[Row, ...]
    expected: tuple[bytes | None, ...]
    logged: tuple[bytes, ...]

    def first_difference(self, register: int | None = None) -> Row | None:
        """The first row that differs, of one RTMR or of all."""
        return next(
            (
                row
                for row in self.rows
                if row.status not in (Agreement.SAME, Agreement.NOT_PREDICTED)
                and register in (None, row.register)
            ),
            None,
        )

    @property
    def matches(self) -> bool:
        """Every predicted event was logged as predicted, and nothing else was."""
        return self.first_difference() is None

    def to_dict(self) -> dict[str, Any]:
        """Registers and rows."""
        return {
            "matches": self.matches,
            "expected": [_hex(value) for value in self.expected],
            "logged": [_hex(value) for value in self.logged],
            "events": [row.to_dict() for row in self.rows],
        }

    def __repr__(self) -> str:
        first = self.first_difference()
        return f"Explanation({'matches' if first is None else f'RTMR{first.register}: {first.label}'})"

    def __str__(self) -> str:
        return "\n".join([self._headline(), "", columns([_HEAD, *(_cells(row, 12) for row in self.rows)])])

    def _repr_html_(self) -> str:
        marks = [row.status.value for row in self.rows]
        return diff_view(self._headline(), _HEAD, [_cells(row, 24) for row in self.rows], marks)

    def _headline(self) -> str:
        first = self.first_difference()
        if first is None:
            return "Every event that the inputs decide was logged as predicted."
        return f"First difference, RTMR{first.register}: {first.label} ({first.status.value}). {first.why}"


_LIES = " (so says its text, of which its digest is not)"
_HEAD = ("register", "event", "expected", "logged", "", "why")
_MARKS = {
    Agreement.SAME: "=",
    Agreement.DIFFERS: "≠",
    Agreement.MISSING: "−",
    Agreement.EXTRA: "+",
    Agreement.NOT_PREDICTED: "?",
}


def _cells(row: Row, digits: int) -> tuple[str, ...]:
    expected = row.expected.digest.hex()[:digits] if row.expected and row.expected.digest else ""
    logged = (row.logged.digest() or b"").hex()[:digits] if row.logged else ""
    shown = [f"{value}…" if value else "" for value in (expected, logged)]
    return (f"RTMR{row.register}", row.label, *shown, _MARKS[row.status], row.why)


def _hex(value: bytes | None) -> str | None:
    return value.hex() if value is not None else None


def explain(
    prediction: Prediction, log: EventLog, alternatives: Mapping[str, BootInputs] | None = None
) -> Explanation:
    """Lay a log beside a prediction and give each difference its reason.

    alternatives: inputs that might have been used instead, by name, such as the kernel of yesterday; a
    digest that fits one of them is explained by that name.

    Raises:
        DataError: the log has no SHA-384 bank.
    """
    rows: list[Row] = []
    values = rtmrs(log)
    for register in range(4):
        expected = [event for event in prediction.events if event.register == register]
        logged = [event for event in log.events if log.rtmr_of(event) == register and event.extends]
        for left, right in _aligned(expected, logged[:_MAX_EVENTS]):
            rows.append(_row(prediction, register, left, right, alternatives or {}))
    return Explanation(tuple(_separators(prediction, rows)), prediction.rtmrs, values)


def page_order_of(tdvf: Tdvf, measured: bytes) -> PageOrder | None:
    """The page order under which this firmware has that MRTD; ``None`` if under neither."""
    return next((order for order in PageOrder if mrtd(tdvf, order) == measured), None)


def _row(
    prediction: Prediction,
    register: int,
    expected: ExpectedEvent | None,
    logged: LogEvent | None,
    alternatives: Mapping[str, BootInputs],
) -> Row:
    if expected is None:
        return Row(register, Agreement.EXTRA, None, logged, "Nothing in the inputs leads to this event.")
    if logged is None:
        return Row(register, Agreement.MISSING, expected, None, "The log ends or goes on without it.")
    digest = logged.digest() or b""
    if expected.digest is None:
        return Row(register, Agreement.NOT_PREDICTED, expected, logged)
    if digest == expected.digest:
        return Row(register, Agreement.SAME, expected, logged)
    elsewhere = [event for event in prediction.events if event.digest == digest and event is not expected]
    if elsewhere and expected.part is not Part.SEPARATOR:
        reason = f"This is the digest of {elsewhere[0].label}: the events changed places."
    else:
        reason = why(prediction, expected, digest, alternatives)
    return Row(register, Agreement.DIFFERS, expected, logged, reason)


def _slot_of(event: LogEvent) -> tuple[int, str]:
    """Type and name by which a logged event is recognised."""
    kind = event.type
    if kind == EventType.EV_EFI_ACTION:
        return kind, event.data.decode("utf-8", "replace")
    if kind == EventType.EV_IPL:
        return kind, event_name(event.data)
    if kind == EventType.EV_EVENT_TAG:
        tag = tagged(event.data)
        return kind, f"{tag[0]:#x}" if tag else ""
    if kind == EventType.DSTACK_EVENT:
        return kind, event.data.partition(b":")[0].decode("utf-8", "replace")
    if kind in (EventType.EV_EFI_VARIABLE_DRIVER_CONFIG, EventType.EV_EFI_VARIABLE_BOOT):
        parts = variable(event.data)
        return kind, parts[1] if parts else ""
    return kind, ""


def _aligned(
    expected: Sequence[ExpectedEvent], logged: Sequence[LogEvent]
) -> list[tuple[ExpectedEvent | None, LogEvent | None]]:
    """The pairing with the greatest agreement that keeps both orders: equal digests, else equal slots."""
    rows, width = len(expected), len(logged)
    slots = [_slot_of(event) for event in logged]
    digests = [event.digest() for event in logged]

    def gain(i: int, j: int) -> int:
        if expected[i].digest is not None and expected[i].digest == digests[j]:
            return 3
        return 2 if expected[i].slot == slots[j] else -1

    best = [[0] * (width + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        for j in range(width - 1, -1, -1):
            best[i][j] = max(best[i + 1][j], best[i][j + 1], best[i + 1][j + 1] + gain(i, j))
    pairs: list[tuple[ExpectedEvent | None, LogEvent | None]] = []
    i = j = 0
    while i < rows or j < width:
        if i < rows and j < width and gain(i, j) > 0 and best[i][j] == best[i + 1][j + 1] + gain(i, j):
            pairs.append((expected[i], logged[j]))
            i, j = i + 1, j + 1
        elif j < width and (i == rows or best[i][j] == best[i][j + 1]):
            pairs.append((None, logged[j]))
            j += 1
        else:
            pairs.append((expected[i], None))
            i += 1
    return pairs


def _separators(prediction: Prediction, rows: list[Row]) -> list[Row]:
    """A separator that is missing in one register and extra in the other is a version of edk2."""
    if prediction.rules.platform is not RegisterKind.TD:
        return rows
    lost = [
        row.register for row in rows if row.status is Agreement.MISSING and row.expected and _separator(row)
    ]
    found = [row.register for row in rows if row.status is Agreement.EXTRA and _separator(row)]
    if (lost, found) not in (([1], [0]), ([0], [1])):
        return rows
    version = Separators.TWO_IN_RTMR0 if found == [0] else Separators.ONE_IN_EACH
    reason = f"{version.value} puts this separator in RTMR{found[0]}, not in RTMR{lost[0]}."
    return [
        Row(row.register, row.status, row.expected, row.logged, reason)
        if row.status in (Agreement.MISSING, Agreement.EXTRA) and _separator(row)
        else row
        for row in rows
    ]


def _separator(row: Row) -> bool:
    if row.expected is not None:
        return row.expected.part is Part.SEPARATOR
    return row.logged is not None and row.logged.type == EventType.EV_SEPARATOR
