"""From facts to one verdict: run the table of checks, find the one root cause, say what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labkit.host import _host_rules as host
from labkit.host._finding import Finding, Pair
from labkit.host._model import Facts, Status, Verdict
from labkit.host._reasons import HOST, LAUNCH, REASONS
from labkit.host._view import View
from labkit.host.checks import CHECKS, Check


@dataclass(frozen=True)
class CheckResult:
    """What one check found on one host."""

    check: Check
    status: Status
    evidence: tuple[Pair, ...] = ()
    detail: str = ""
    fix: str | None = None

    @property
    def track(self) -> str:
        """``host``, ``launch`` or ``attestation``."""
        return REASONS[self.check.reason].track

    def to_dict(self) -> dict[str, Any]:
        """The check with the contract's keys."""
        return {
            "id": self.check.id,
            "title": self.check.title,
            "track": self.track,
            "status": self.status.value,
            "evidence": [{"source": source, "value": value} for source, value in self.evidence],
            "expected": self.check.expected,
            "detail": self.detail,
            "fix": self.fix,
        }


@dataclass(frozen=True)
class Track:
    """The verdict of one part of the question: host, launch or attestation."""

    verdict: Verdict
    reason: str | None

    def to_dict(self) -> dict[str, Any]:
        """Verdict and reason."""
        return {"verdict": self.verdict.value, "reason": self.reason}


@dataclass(frozen=True)
class HostReport:
    """The verdict about a host: exactly one reason when it is not READY, and everything it stands on."""

    verdict: Verdict
    reason: str | None
    summary: str
    next_action: str | None
    checks: tuple[CheckResult, ...]
    host: Track
    launch: Track
    attestation: Track
    facts: Facts

    def to_dict(self) -> dict[str, Any]:
        """The report with the contract's keys."""
        return {
            "verdict": self.verdict.value,
            "reason": self.reason,
            "summary": self.summary,
            "next_action": self.next_action,
            "checks": [result.to_dict() for result in self.checks],
            "host": self.host.to_dict(),
            "launch": self.launch.to_dict(),
            "attestation": self.attestation.to_dict(),
        }

    def __repr__(self) -> str:
        return f"HostReport({self.verdict}{f', {self.reason}' if self.reason else ''})"

    def __str__(self) -> str:
        return f"{self.verdict} {self.reason}\n{self.summary}\n{self.next_action}"


def diagnose(facts: Facts) -> HostReport:
    """Diagnose a host from its facts alone; nothing is read, nothing is run."""
    view = View(facts)
    results: dict[str, CheckResult] = {}
    for check in CHECKS:
        results[check.id] = _run(check, view, results)
    checks = tuple(results.values())
    host_track = _track(checks, HOST, "initialised", host.log_reason(view))
    launch_track = _track(checks, LAUNCH, None, None)
    verdict, reason = host_track.verdict, host_track.reason
    launch_cause = launch_track.verdict is Verdict.NOT_READY
    if launch_cause and verdict is not Verdict.NOT_READY:
        verdict, reason = launch_track.verdict, launch_track.reason
    summary, action = _words(verdict, reason, checks, host_track)
    return HostReport(
        verdict,
        reason,
        summary,
        action,
        checks,
        host_track,
        launch_track,
        Track(Verdict.INDETERMINATE, None),
        facts,
    )


def _run(check: Check, view: View, done: Mapping[str, CheckResult]) -> CheckResult:
    lost = [need for need in check.needs if done[need].status in (Status.FAIL, Status.SKIP)]
    if lost:
        return CheckResult(check, Status.SKIP, detail=f"needs {lost[0]}")
    finding: Finding = check.rule(view)
    fix = None
    if finding.status is Status.FAIL:
        fix = finding.action or REASONS[check.reason].next_action
    elif finding.status is Status.UNKNOWN:
        fix = f"To settle it: {check.settle}"
    return CheckResult(check, finding.status, finding.evidence, finding.detail, fix)


def _track(checks: tuple[CheckResult, ...], track: str, proof: str | None, unproved: str | None) -> Track:
    mine = [result for result in checks if result.track == track]
    failures = [result for result in mine if result.status is Status.FAIL]
    if failures:
        return Track(Verdict.NOT_READY, failures[0].check.reason)
    proved = [result for result in mine if proof in (None, result.check.id)]
    if all(result.status is Status.PASS for result in proved):
        return Track(Verdict.READY, None)
    return Track(Verdict.INDETERMINATE, unproved)


def _words(
    verdict: Verdict, reason: str | None, checks: tuple[CheckResult, ...], host_track: Track
) -> tuple[str, str | None]:
    if reason is None:
        return "The TDX module is initialised.", None
    row = REASONS[reason]
    failures = [result for result in checks if result.check.reason == reason and result.status is Status.FAIL]
    lead = (
        "The TDX module is initialised, but: "
        if row.track == LAUNCH and host_track.verdict is Verdict.READY
        else ""
    )
    detail = f" {failures[0].detail}" if failures and failures[0].detail else ""
    action = failures[0].fix if failures else None
    return f"{lead}{row.summary}{detail}", action or row.next_action
