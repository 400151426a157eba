"""Replay: fold the digests of a log into the registers, as the TPM or the TDX module did."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from labkit.errors import DataError, UsageError
from labkit.measure.describe import DataCheck
from labkit.measure.event_log import EventLog, LogFormat, event_rows
from labkit.measure.event_types import ALGORITHM_NUMBERS, ALGORITHMS, SHA384
from labkit.show import columns, one_line
from labkit.show.explorer import ListedPart, explored
from labkit.show.markup import join
from labkit.show.measure import section_table

Rtmrs = tuple[bytes, bytes, bytes, bytes]
_LABEL = 100
_TEXTS = {
    "matches": "the digest is that of the description",
    "differs": "the digest is not that of the description",
    "unknown": "the log does not hold what was hashed",
}
_LOCALITY = b"StartupLocality\0"


def extend(register: bytes, digest: bytes, algorithm: str = "sha384") -> bytes:
    """One step: the hash of the old value followed by the digest."""
    return hashlib.new(algorithm, register + digest).digest()


def replay_pcrs(log: EventLog, algorithm: str = "sha256") -> dict[int, bytes]:
    """The value of every PCR that the log touches, in one bank, by PCR number.

    PCR 0 starts from the locality that an EV_NO_ACTION "StartupLocality" event names, else from zero.

    Raises:
        UsageError: the log is not a TPM's, or has no such bank.
    """
    number = ALGORITHM_NUMBERS.get(algorithm)
    if log.format is not LogFormat.TCG or number not in dict(log.header.algorithms):
        banks = ", ".join(ALGORITHMS[bank][0] for bank, _ in log.header.algorithms)
        raise UsageError(
            f"This {log.format.value} log has no PCR bank {algorithm!r}.", f"Its banks are: {banks}."
        )
    size = ALGORITHMS[number][1]
    pcrs: dict[int, bytes] = {}
    for event in log.events:
        if not event.extends:
            if event.data[:16] == _LOCALITY and len(event.data) == 17 and 0 not in pcrs:
                pcrs[0] = bytes(size - 1) + event.data[16:]
            continue
        digest = event.digest(number)
        assert digest is not None
        pcrs[event.register] = extend(pcrs.get(event.register, bytes(size)), digest, algorithm)
    return pcrs


def rtmrs(log: EventLog) -> Rtmrs:
    """RTMR0 to RTMR3 (48 bytes each) after the log's last event.

    A CCEL names the RTMRs itself. A TPM's log is read by the mapping of the UEFI specification, in log order;
    what comes out is derived from a virtual TPM (``log.derived_from``), no TD measured it.

    Raises:
        DataError: the log has no SHA-384 bank.
    """
    values = [bytes(48)] * 4
    for step in _steps(log):
        if step is not None:
            values[step.register] = step.after
    return (values[0], values[1], values[2], values[3])


@dataclass(frozen=True)
class _Step:
    """What an event did to an RTMR."""

    register: int
    before: bytes
    after: bytes


def _steps(log: EventLog) -> Iterator[_Step | None]:
    """For each event, what it did; None where it extends no RTMR."""
    values = [bytes(48)] * 4
    for event in log.events:
        number = log.rtmr_of(event)
        if number is None or not event.extends:
            yield None
            continue
        digest = event.digest(SHA384)
        if digest is None:
            raise DataError(
                "The log has no SHA-384 bank, so that no RTMR follows from it.",
                "Give the TPM a SHA-384 bank: swtpm_setup --pcr-banks sha256,sha384.",
            )
        before, values[number] = values[number], extend(values[number], digest)
        yield _Step(number, before, values[number])


@dataclass(frozen=True)
class LogReport:
    """A log with its replay, as ``labkit eventlog`` shows it."""

    log: EventLog
    rtmr: Rtmrs

    def __repr__(self) -> str:
        return f"LogReport({self.log.format.value})"

    def to_dict(self) -> dict[str, Any]:
        """The document of ``labkit eventlog --json``."""
        document: dict[str, Any] = {
            "format": self.log.format.value,
            "events": event_rows(self.log),
            "rtmr": [value.hex() for value in self.rtmr],
            "trailing_bytes": len(self.log.padding),
        }
        if self.log.derived_from:
            document["derived_from"] = self.log.derived_from
        return document

    def __str__(self) -> str:
        parts = [str(self.log), "", columns(self._registers()), self._origin()]
        return "\n".join([*parts, *self._doubts()])

    def _repr_html_(self) -> str:
        notes = [("", self._origin()), *(("", doubt) for doubt in self._doubts())]
        registers = section_table(("register", "value"), [*self._registers(), *notes])
        return join([registers, self.log._repr_html_()])

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        return explored("Event log", self, partial(event_parts, self.log))

    def _registers(self) -> list[tuple[str, str]]:
        return [(f"RTMR{number}", value.hex()) for number, value in enumerate(self.rtmr)]

    def _origin(self) -> str:
        if self.log.derived_from:
            return "RTMRs derived from a vTPM log; no TD measured them."
        runtime = "" if self.log.has_runtime_events else " RTMR3 is extended at run time: no entry of it."
        return f"RTMRs replayed from the CCEL; compare them with those of a quote (--quote).{runtime}"

    def _doubts(self) -> list[str]:
        wrong = [event for event in self.log.events if event.data_check is DataCheck.DIFFERS]
        return [
            f"Event {event.index}: its text does not belong to its digest, although the replay cannot tell."
            for event in wrong
        ]


def event_parts(log: EventLog) -> list[ListedPart]:
    """Each event whole, with what it did to its register."""
    parts = []
    for step, row in zip(_steps(log), event_rows(log), strict=True):
        facts = [(name, row[name]) for name in ("register", "type", "digest", "description")]
        if step is not None:
            facts.append((f"RTMR{step.register} before", step.before.hex()))
            facts.append((f"RTMR{step.register} after", step.after.hex()))
            facts.append(("how", "SHA-384 of the value before, followed by the digest"))
        else:
            facts.append(("what it did", "no RTMR is changed by this event"))
        facts.append(("text and digest", _TEXTS[row["data"]]))
        label = f"{row['index']:3} {row['register']} {row['type'].removeprefix('EV_')} {row['description']}"
        parts.append(ListedPart(one_line(label, _LABEL), section_table((), facts), row["register"]))
    return parts


def report_log(log: EventLog) -> LogReport:
    """A log together with its replay.

    Raises:
        DataError: the log has no SHA-384 bank.
    """
    return LogReport(log, rtmrs(log))
