"""An event log beside the registers of a quote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from labkit.attest._quote import Quote
from labkit.measure import EventLog, LogReport
from labkit.measure.event_log import RUNTIME_RTMR, LogFormat
from labkit.measure.replay import Rtmrs
from labkit.settings import Trust
from labkit.show import columns, stamp
from labkit.show.markup import join
from labkit.show.measure import section_table


def extended_at_run_time(number: int, log: EventLog) -> bool:
    """The guest extends this register after its boot, and the log, the firmware's, has no entry of it."""
    return number == RUNTIME_RTMR and not log.has_runtime_events


@dataclass(frozen=True)
class LogComparison:
    """A log, its replay, and the quote whose registers it is to lead to; the quote is not verified here."""

    report: LogReport
    quote: Quote

    @property
    def states(self) -> tuple[str, str, str, str]:
        """``equal``, ``differs`` or ``extended at run time``, for RTMR0 to RTMR3."""
        zero, one, two, three = (self._state(number) for number in range(4))
        return (zero, one, two, three)

    @property
    def equal(self) -> bool:
        """Every register that the log speaks of is as in the quote."""
        return "differs" not in self.states

    @property
    def unmeasured(self) -> tuple[int, ...]:
        """Events of a CCEL that name MRTD, which no event can extend: nothing in a quote speaks for them."""
        log = self.report.log
        if log.format is not LogFormat.CCEL:
            return ()
        return tuple(event.index for event in log.events if event.extends and log.rtmr_of(event) is None)

    def _state(self, number: int) -> str:
        quoted = self.quote.rtmr[number]
        if self.report.rtmr[number] == quoted:
            return "equal"
        return "extended at run time" if extended_at_run_time(number, self.report.log) else "differs"

    def to_dict(self) -> dict[str, Any]:
        """The document of ``labkit eventlog --quote --json``."""
        rows = zip(self.states, self.report.rtmr, self.quote.rtmr, strict=True)
        return {
            **self.report.to_dict(),
            "verdict": "EQUAL" if self.equal else "DIFFERS",
            "comparison": [
                {"register": f"RTMR{number}", "status": state, "log": log.hex(), "quote": quote.hex()}
                for number, (state, log, quote) in enumerate(rows)
            ],
            "unmeasured": list(self.unmeasured),
            "quote": {"version": self.quote.version, "verified": False, "lab": self.quote.lab},
            "stamp": self._shown.stamp,
        }

    def __repr__(self) -> str:
        return f"LogComparison({'EQUAL' if self.equal else 'DIFFERS'})"

    def __str__(self) -> str:
        return "\n".join([self._headline(), columns(self._rows()), "", str(self.report)])

    def _repr_html_(self) -> str:
        return join([section_table(("", self._headline()), self._rows()), self.report._repr_html_()])

    @property
    def _shown(self) -> Trust:
        return Trust.HARDWARE if self.quote.intel else Trust.NONE

    def _headline(self) -> str:
        mark = stamp(self._shown)
        if self.equal:
            return f"{mark}EQUAL: the log leads to the registers of the quote, which was not verified here."
        wrong = ", ".join(f"RTMR{number}" for number, state in enumerate(self.states) if state == "differs")
        return f"{mark}DIFFERS: the log does not lead to the quote's {wrong}."

    def _rows(self) -> list[tuple[str, str]]:
        rows: list[tuple[str, str]] = []
        values: tuple[Rtmrs, Rtmrs] = (self.report.rtmr, self.quote.rtmr)
        for number, state in enumerate(self.states):
            rows.append((f"RTMR{number}", state))
            if state != "equal":
                rows += [("  log", values[0][number].hex()), ("  quote", values[1][number].hex())]
        if self.unmeasured:
            events = ", ".join(map(str, self.unmeasured))
            rows.append(("MRTD", f"no event extends it: nothing in the quote speaks for event {events}"))
        return rows


def compare_log(report: LogReport, quote: Quote) -> LogComparison:
    """Compare a replayed log with the registers of a quote."""
    return LogComparison(report, quote)
