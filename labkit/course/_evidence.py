"""Evidence in a submission: read as data, verified, and held against whose work it claims to be.

The lab authority's key lies on the student's disk. So this finds evidence that was copied, mixed up or
edited; a student who signs made-up registers with their own key it does not find.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from labkit.attest import (
    LabAuthority,
    QuoteVerdict,
    make_tdreport,
    parse_collateral,
    parse_quote,
    verify_quote,
)
from labkit.course.model import EVIDENCE, Challenge, Claims
from labkit.errors import LabkitError
from labkit.measure import EventLog, parse_log, rtmrs
from labkit.measure.event_log import LogEvent, LogFormat, LogHeader
from labkit.measure.event_types import EventType

_SHA384 = 0x000C
_SEPT_VE_DISABLE = 1 << 28
SYNTHETIC = f"{EVIDENCE}/SYNTHETIC.txt"
_NOTE = (
    "EMULATED. Made for the teacher from the prediction alone: no TDVM was booted for this worked solution.\n"
    "A student's evidence comes from a boot.\n"
)


@dataclass(frozen=True)
class EvidenceCheck:
    """What a submission's evidence comes to.

    problem: why it counts for nothing, in a sentence; empty where it holds. forged: it was edited.
    """

    problem: str = ""
    forged: bool = False
    verdict: QuoteVerdict | None = None
    log: EventLog | None = None

    @property
    def rtmr(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The registers of the quote."""
        assert self.verdict is not None
        return self.verdict.rtmr

    def digests(self, register: int) -> list[bytes]:
        """The digests that went into one RTMR, in order."""
        assert self.log is not None
        name = f"RTMR{register}"
        events = [event for event in self.log.events if self.log.register_name(event) == name]
        return [event.digest(_SHA384) or b"" for event in events if event.extends]


def read_evidence(challenge: Challenge, claims: Claims, bound: Mapping[str, bytes]) -> EvidenceCheck:
    """Verify the evidence of a submission: signatures, REPORTDATA about ``bound``, and the log's replay."""
    quote = quote_of(claims.files)
    if quote is None:
        return EvidenceCheck(f"There is no quote in the folder {EVIDENCE}.")
    log_data, collateral = _file(claims.files, "eventlog"), claims.files.get(f"{EVIDENCE}/collateral.json")
    if log_data is None or collateral is None:
        return EvidenceCheck(f"The folder {EVIDENCE} has a quote, but no event log or no collateral with it.")
    try:
        root = claims.files.get(f"{EVIDENCE}/root.der") if parse_quote(quote).lab else None
        given = parse_collateral(collateral)
        verdict = verify_quote(quote, given, int(given.window[0].timestamp()), root)
        log = parse_log(log_data)
        replayed = rtmrs(log)
    except LabkitError as error:
        return EvidenceCheck(f"The evidence cannot be read: {error.message}", forged=True)
    if not verdict.verified:
        return EvidenceCheck(f"The quote is refused ({verdict.reason}): it was changed.", forged=True)
    if replayed != verdict.rtmr:
        return EvidenceCheck("The event log does not replay to the registers of the quote.", forged=True)
    if verdict.report_data[:32] != challenge.owner:
        return EvidenceCheck("The quote was made for another challenge than yours.", False, verdict, log)
    if verdict.report_data != challenge.report_data(bound):
        why = "The quote is bound to other answers: take the evidence after you wrote your answers down."
        return EvidenceCheck(why, False, verdict, log)
    return EvidenceCheck("", False, verdict, log)


def owner_of_evidence(files: Mapping[str, bytes]) -> bytes | None:
    """The first half of REPORTDATA of a submission's quote: whose work it is; None without a quote."""
    quote = quote_of(files)
    try:
        return parse_quote(quote).report_data[:32] if quote else None
    except LabkitError:
        return None


def quote_of(files: Mapping[str, bytes]) -> bytes | None:
    """The quote that counts in a submission, if there is one."""
    return _file(files, "quote")


def _file(files: Mapping[str, bytes], stem: str) -> bytes | None:
    for mark in (".EMULATED", ""):
        data = files.get(f"{EVIDENCE}/{stem}{mark}.bin")
        if data is not None:
            return data
    return None


def tagged_log(digests: Mapping[int, list[tuple[str, bytes]]]) -> EventLog:
    """A CCEL with these events: for each RTMR, name and digest."""
    rows = [(register, *row) for register, rows in digests.items() for row in rows]
    events = [
        LogEvent(index, register + 1, EventType.EV_IPL, ((_SHA384, digest),), name.encode())
        for index, (register, name, digest) in enumerate(rows, 1)
    ]
    return EventLog(LogFormat.CCEL, LogHeader(register=1), tuple(events))


def synthetic_evidence(log: EventLog, report_data: bytes) -> dict[str, bytes]:
    """Evidence for a worked solution, signed by an authority of its own that exists only for this call.

    No machine booted; a file beside it says so.
    """
    now = int(time.time())
    authority = LabAuthority.create(now)
    report = make_tdreport(
        mrtd=bytes(48), rtmr=rtmrs(log), report_data=report_data, td_attributes=_SEPT_VE_DISABLE
    )
    return {
        f"{EVIDENCE}/quote.EMULATED.bin": authority.quote(report),
        f"{EVIDENCE}/eventlog.EMULATED.bin": log.encode(),
        f"{EVIDENCE}/collateral.json": authority.collateral(now).text.encode(),
        f"{EVIDENCE}/root.der": authority.root_der,
        SYNTHETIC: _NOTE.encode(),
    }
