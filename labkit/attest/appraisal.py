"""Appraisal: does verified evidence say what the policy demands? Each no comes with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from labkit.attest._compare import extended_at_run_time
from labkit.attest.policy import Policy
from labkit.attest.verify import QuoteVerdict
from labkit.measure import BootInputs, EventLog, PageOrder, explain, rtmrs
from labkit.measure.event_log import RUNTIME_RTMR
from labkit.measure.explanation import Explanation, page_order_of
from labkit.settings import Trust
from labkit.show import columns, stamp
from labkit.show.verdict import verdict_view


@dataclass(frozen=True)
class RegisterFinding:
    """One demand that is not met; ``register`` is MRTD, RTMR0 to RTMR3, or another part of the evidence.

    event: the first differing event of the log, where there is one. why: a sentence.
    """

    register: str
    expected: str
    actual: str
    why: str
    event: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The keys of ``reasons`` in ``labkit attest``."""
        return {
            "register": self.register,
            "expected": self.expected,
            "actual": self.actual,
            "first_difference": {"event": self.event, "why": self.why},
        }


@dataclass(frozen=True)
class Appraisal:
    """The outcome: accepted if there is no finding. ``unchecked`` names what the policy left open.

    shown_trust: the stamp of it: a refused quote of Intel's root has trust none too, but is not emulated.
    """

    findings: tuple[RegisterFinding, ...]
    unchecked: tuple[str, ...]
    trust: Trust
    explanation: Explanation | None = None
    shown_trust: Trust = Trust.NONE

    @property
    def accepted(self) -> bool:
        """Every demand of the policy is met."""
        return not self.findings

    @property
    def verdict(self) -> str:
        """ACCEPTED or REJECTED."""
        return "ACCEPTED" if self.accepted else "REJECTED"

    def with_findings(self, more: Iterable[RegisterFinding]) -> Appraisal:
        """The same outcome with findings of another reader; any of them rejects."""
        return replace(self, findings=(*self.findings, *more))

    def to_dict(self) -> dict[str, Any]:
        """Verdict and reasons with the keys of ``labkit attest``."""
        return {
            "verdict": self.verdict,
            "trust": self.trust.value,
            "reasons": [finding.to_dict() for finding in self.findings],
            "unchecked": list(self.unchecked),
        }

    def __repr__(self) -> str:
        return f"Appraisal({self.verdict}, {[finding.register for finding in self.findings]})"

    def __str__(self) -> str:
        lines = [f"{stamp(self.shown_trust)}{self.verdict}: {self._because()}"]
        if self.findings:
            lines += ["", columns(self._rows())]
        return "\n".join([*lines, *self._open()])

    def _repr_html_(self) -> str:
        rows = [*self._rows(), *(("", line) for line in self._open())]
        return verdict_view(self.verdict, self.accepted, self.shown_trust, self._because(), rows)

    def _because(self) -> str:
        if self.accepted:
            return "the evidence meets every demand of the policy."
        first = self.findings[0]
        return f"{first.register}: {first.why}"

    def _rows(self) -> list[tuple[str, str]]:
        rows = []
        for finding in self.findings:
            rows += [
                (finding.register, finding.why),
                ("  expected", finding.expected),
                ("  actual", finding.actual),
            ]
            if finding.event:
                rows.append(("  first difference", finding.event))
        return rows

    def _open(self) -> list[str]:
        return [f"Not checked: {', '.join(self.unchecked)}."] if self.unchecked else []


def appraise(
    policy: Policy,
    verdict: QuoteVerdict,
    log: EventLog | None = None,
    alternatives: Mapping[str, BootInputs] | None = None,
) -> Appraisal:
    """Judge a verification's outcome, and the boot's log if it is there, by a policy.

    The log is believed only as far as it replays to the registers of the quote. alternatives: inputs that
    may have been used instead, by name; they make reasons more telling.

    Raises:
        DataError: the log has no SHA-384 bank.
    """
    explanation = explain(policy.prediction, log, alternatives) if policy.prediction and log else None
    findings = [
        *_about_quote(policy, verdict),
        *_about_mrtd(policy, verdict),
        *(_about_log(verdict, log) if log else ()),
        *_about_rtmrs(policy, verdict, explanation),
    ]
    unchecked = tuple(_unchecked(policy, log))
    return Appraisal(tuple(findings), unchecked, verdict.trust, explanation, verdict.shown_trust)


def _about_quote(policy: Policy, verdict: QuoteVerdict) -> Iterator[RegisterFinding]:
    if verdict.reason is not None:
        why = f"The quote is refused: {verdict.because}"
        yield RegisterFinding("quote", "VERIFIED", f"REFUSED {verdict.reason.value}", why)
    elif verdict.tcb_status not in policy.tcb_statuses:
        why = f"The platform's TCB is {verdict.tcb_status}: its firmware has to be updated or configured."
        yield RegisterFinding("TCB", " or ".join(policy.tcb_statuses), verdict.tcb_status, why)
    bad = [advisory for advisory in verdict.advisory_ids if advisory in policy.forbidden_advisories]
    if bad:
        yield RegisterFinding(
            "TCB", "none of these advisories", ", ".join(bad), "A forbidden advisory applies."
        )
    if verdict.shown_trust is not Trust.HARDWARE and not policy.allow_lab:
        who = "A lab authority" if verdict.lab else "A root that is not Intel's"
        why = f"{who} vouches for the quote; no TDX hardware stands behind it."
        yield RegisterFinding(
            "trust", "TDX hardware", "lab authority" if verdict.lab else verdict.anchor.value, why
        )
    if verdict.debug and not policy.allow_debug:
        why = "The VMM can read and change a debug TD; nothing it says can be trusted."
        yield RegisterFinding("ATTRIBUTES", "DEBUG off", "DEBUG on", why)
    if policy.report_data is not None and verdict.report_data != policy.report_data:
        why = "The quote was not made for this nonce: it is old, or made for someone else."
        yield RegisterFinding("REPORTDATA", policy.report_data.hex(), verdict.report_data.hex(), why)


def _about_mrtd(policy: Policy, verdict: QuoteVerdict) -> Iterator[RegisterFinding]:
    expected = _expected_mrtds(policy)
    if not expected or verdict.mrtd in expected:
        return
    why = "Another firmware was started, or an altered one."
    firmware = policy.prediction.inputs.firmware if policy.prediction else None
    order = page_order_of(firmware, verdict.mrtd) if firmware else None
    if order is not None:
        why = f"It is this firmware in {order.value} page order, as {order.used_by} do it."
    yield RegisterFinding("MRTD", " or ".join(value.hex() for value in expected), verdict.mrtd.hex(), why)


def _expected_mrtds(policy: Policy) -> list[bytes]:
    if policy.mrtd or policy.prediction is None:
        return list(policy.mrtd)
    orders = [policy.page_order] if policy.page_order else list(PageOrder)
    values = [policy.prediction.mrtd(order) for order in orders]
    return [value for value in values if value is not None]


def _about_log(verdict: QuoteVerdict, log: EventLog) -> Iterator[RegisterFinding]:
    for number, (replayed, quoted) in enumerate(zip(rtmrs(log), verdict.rtmr, strict=True)):
        if replayed != quoted and not extended_at_run_time(number, log):
            why = "The event log is not that of the quoted TD: its replay gives another value."
            yield RegisterFinding(f"RTMR{number}", f"{quoted.hex()} (quote)", f"{replayed.hex()} (log)", why)


def _about_rtmrs(
    policy: Policy, verdict: QuoteVerdict, explanation: Explanation | None
) -> Iterator[RegisterFinding]:
    for number, actual in enumerate(verdict.rtmr):
        expected = _expected_rtmr(policy, number)
        if expected is None:
            yield from _about_open_rtmr(policy, number, actual, explanation)
        elif expected != actual:
            first = explanation.first_difference(number) if explanation else None
            if number == RUNTIME_RTMR and not any(expected) and first is None:
                why = "The guest extended it at run time, which the firmware's log has no entry of."
            else:
                why = (
                    first.why
                    if first
                    else "Without a log that differs there is no telling which event it was."
                )
            event = first.label if first else None
            yield RegisterFinding(f"RTMR{number}", expected.hex(), actual.hex(), why, event)


def _expected_rtmr(policy: Policy, number: int) -> bytes | None:
    if policy.rtmr[number] is not None or policy.prediction is None:
        return policy.rtmr[number]
    return policy.prediction.rtmr(number)


def _about_open_rtmr(
    policy: Policy, number: int, actual: bytes, explanation: Explanation | None
) -> Iterator[RegisterFinding]:
    """A register that was to be predicted but has events which the inputs do not decide."""
    if policy.prediction is None:
        return
    name = f"RTMR{number}"
    first = explanation.first_difference(number) if explanation else None
    if first is not None:
        yield RegisterFinding(name, "events as predicted", actual.hex(), first.why, first.label)
    elif not policy.allow_unpredicted or explanation is None:
        open_events = [
            event.label
            for event in policy.prediction.events
            if event.register == number and event.digest is None
        ]
        why = "The inputs do not decide every event; give an expected value, or allow_unpredicted with a log."
        yield RegisterFinding(name, f"inputs for: {', '.join(open_events)}", actual.hex(), why)


def _unchecked(policy: Policy, log: EventLog | None) -> Iterator[str]:
    if policy.report_data is None:
        yield "REPORTDATA (no nonce: the evidence may be old)"
    if not _expected_mrtds(policy):
        yield "MRTD"
    for number in range(4):
        if policy.prediction is None and policy.rtmr[number] is None:
            yield f"RTMR{number}"
        elif _expected_rtmr(policy, number) is None and policy.allow_unpredicted:
            yield f"unpredicted events of RTMR{number}"
    if log is None:
        yield "event log (none given)"
