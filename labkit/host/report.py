"""From facts to one verdict: run the table of checks, find the one root cause, say what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labkit.host import _render
from labkit.host._concerns import Concern, concerns
from labkit.host._contradictions import Contradiction, contradictions, remarks
from labkit.host._telling import holds_message
from labkit.host.checks import CHECKS, Check
from labkit.host.host_rules import log_reason
from labkit.host.model import CheckStatus, Facts, HostVerdict, LogState
from labkit.host.reasons import ATTESTATION, HOST, LAUNCH, REASONS
from labkit.host.remedies import REMEDIES, Remedy
from labkit.host.result import CheckResult, Track
from labkit.host.view import FactsView

_MOST_WORRIES = 3


@dataclass(frozen=True)
class HostReport:
    """The verdict about a host: exactly one reason when it is not READY, and everything it stands on.

    host: whether the TDX module is up. launch: whether a TD can be started. attestation: whether its quotes
    can be made. The verdict is that of host and launch together; attestation is apart. concerns: what may
    keep a TD from running although the module is up, or says why nothing is proved.
    """

    verdict: HostVerdict
    reason: str | None
    summary: str
    next_action: str | None
    checks: tuple[CheckResult, ...]
    contradictions: tuple[Contradiction, ...]
    remarks: tuple[str, ...]
    concerns: tuple[Concern, ...]
    host: Track
    launch: Track
    attestation: Track
    facts: Facts

    @property
    def remedies(self) -> tuple[Remedy, ...]:
        """The common problems that fit the reason."""
        return tuple(REMEDIES[number] for number in REASONS[self.reason].problems) if self.reason else ()

    def check(self, check_id: str) -> CheckResult:
        """The result of one check, by id."""
        return next(result for result in self.checks if result.check.id == check_id)

    def to_dict(self) -> dict[str, Any]:
        """The report with the contract's keys, and more beside them."""
        return {
            "verdict": self.verdict.value,
            "reason": self.reason,
            "summary": self.summary,
            "next_action": self.next_action,
            "checks": [result.to_dict() for result in self.checks],
            "attestation": self.attestation.to_dict(),
            "host": self.host.to_dict(),
            "launch": self.launch.to_dict(),
            "contradictions": [entry.to_dict() for entry in self.contradictions],
            "remarks": list(self.remarks),
            "concerns": [entry.to_dict() for entry in self.concerns],
            "remedies": [
                {"problem": entry.title, "steps": list(entry.steps), "links": list(entry.links)}
                for entry in self.remedies
            ],
            "emulated": self.facts.emulated,
        }

    def text(self, *, short: bool = False, verbose: bool = False, color: bool = False) -> str:
        """The report for a terminal: one line, the tree, or the tree with every piece of evidence."""
        return _render.short(self, color) if short else _render.tree(self, verbose=verbose, color=color)

    def __repr__(self) -> str:
        return f"HostReport({self.verdict}{f', {self.reason}' if self.reason else ''})"

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return _render.html(self)


def diagnose(facts: Facts) -> HostReport:
    """Diagnose a host from its facts alone; nothing is read, nothing is run."""
    view = FactsView(facts)
    results: dict[str, CheckResult] = {}
    for check in CHECKS:
        results[check.id] = _run(check, view, results)
    checks = tuple(results.values())
    host = _track(checks, HOST, log_reason(view))
    if results["initialised"].status is CheckStatus.PASS and host.verdict is HostVerdict.INDETERMINATE:
        host = Track(HostVerdict.READY, None)
    launch, attestation = _track(checks, LAUNCH, None), _track(checks, ATTESTATION, None)
    blocked = host.verdict is not HostVerdict.NOT_READY and launch.verdict is HostVerdict.NOT_READY
    overall = launch if blocked else host
    found, worries = contradictions(view), concerns(view)
    summary, action = _words(overall, checks, host)
    if overall.verdict is HostVerdict.READY:
        summary, action = _ready(worries, contradicted=bool(found))
    elif overall.verdict is HostVerdict.INDETERMINATE:
        summary, action = _unproved(view, summary, action, worries)
    return HostReport(
        overall.verdict,
        overall.reason,
        summary,
        action,
        checks,
        found,
        _remarks(view, summary),
        worries,
        host,
        launch,
        attestation,
        facts,
    )


def _remarks(view: FactsView, summary: str) -> tuple[str, ...]:
    """The remarks, but for one about a line that the summary has quoted."""
    said = [line.text for line in view.log.unread if line.text in summary]
    return tuple(text for text in remarks(view) if not any(line in text for line in said))


def _run(check: Check, view: FactsView, done: Mapping[str, CheckResult]) -> CheckResult:
    lost = [need for need in check.needs if done[need].status in (CheckStatus.FAIL, CheckStatus.SKIP)]
    if lost:
        return CheckResult(check, CheckStatus.SKIP, detail=f"needs {lost[0]}")
    finding = check.rule(view)
    fix = None
    if finding.status is CheckStatus.FAIL:
        fix = finding.action or REASONS[check.reason].next_action
    elif finding.status is CheckStatus.UNKNOWN:
        fix = finding.action or f"To settle it: {check.settle}"
    return CheckResult(check, finding.status, finding.evidence, finding.detail.strip(), fix)


def _track(checks: tuple[CheckResult, ...], track: str, unproved: str | None) -> Track:
    """The first failure in the order of the table is the root cause; all passed is READY."""
    mine = [result for result in checks if result.track == track]
    failures = [result for result in mine if result.status is CheckStatus.FAIL]
    if failures:
        return Track(HostVerdict.NOT_READY, failures[0].check.reason)
    if all(result.status is CheckStatus.PASS for result in mine):
        return Track(HostVerdict.READY, None)
    return Track(HostVerdict.INDETERMINATE, unproved)


def _ready(worries: tuple[Concern, ...], *, contradicted: bool) -> tuple[str, str | None]:
    """READY in words: that nothing stands in the way is said only where that is so."""
    up = "The TDX module is initialised"
    if worries:
        said = " ".join(worry.text for worry in worries[:_MOST_WORRIES])
        return f"{up}, but what was read may keep a TD from running. {said}", worries[0].action
    if contradicted:
        return f"{up}; some of the facts below contradict each other.", None
    return f"{up}, and nothing that was read stands in the way of a TD.", None


def _unproved(
    view: FactsView, summary: str, action: str | None, worries: tuple[Concern, ...]
) -> tuple[str, str | None]:
    """Nothing is proved: lines that could not be read, a panic, or errors at run time say why."""
    if names := view.log.machines:
        first = shlex.quote(names[0])
        listed = ", ".join(names[:_MOST_WORRIES]) + (" …" if len(names) > _MOST_WORRIES else "")
        return (
            f"The kernel log has lines of {len(names)} machines that tell different things ({listed}), so "
            f"nothing is proved about any of them.",
            f"Give the lines of one: `grep -wF -- {first} LOG | labkit verify --kernel-log -`.",
        )
    if view.log.unread and holds_message(view.log.unread[0].text):
        line = view.log.unread[0]
        return (
            "The kernel log has the kernel's words in a wrapping that labkit cannot read, or from a program "
            f"that is not the kernel, so nothing is proved: {line.text}",
            "Give the kernel's own log, or take away what stands before and behind its words: "
            r"`sed -E 's#^.*((virt/)?tdx: |Linux version )#\1#' LOG | labkit verify --kernel-log -`.",
        )
    if view.log.unread:
        return (
            "The kernel log has a line about TDX that is no whole message which labkit knows (cut off, "
            "misread from a picture, or of a newer kernel), so nothing is "
            f"proved: {view.log.unread[0].text[:200]}",
            "Give the kernel's own log, not a picture or a part of its lines: "
            "`sudo dmesg | labkit verify --kernel-log -`.",
        )
    if view.log.state is LogState.UNREADABLE and view.log.given:
        return (
            f"The kernel log {view.log.source} cannot be read, and no other fact settles the question: "
            f"{view.log.why}.",
            "Give it as text: `... | labkit verify --kernel-log -`.",
        )
    if worries:
        return f"{summary} {' '.join(worry.text for worry in worries[:_MOST_WORRIES])}", worries[0].action
    if esxi := view.find("esxi"):
        return (
            f"The log is of VMware's ESXi, which labkit knows by some of its failures alone, so nothing is "
            f"proved: {esxi[-1].line.text[:200]}",
            "Ask ESXi's own tools whether TDX is on; labkit judges hosts that run Linux.",
        )
    return summary, action


def _words(overall: Track, checks: tuple[CheckResult, ...], host: Track) -> tuple[str, str | None]:
    if overall.reason is None:
        return "", None
    row = REASONS[overall.reason]
    failures = [
        entry for entry in checks if entry.check.reason == row.code and entry.status is CheckStatus.FAIL
    ]
    track = failures[0].track if failures else row.track
    said = row.summary if track == row.track else ""
    up = track == LAUNCH and host.verdict is HostVerdict.READY
    lead = f"The TDX module is initialised, but a TD cannot be started. {said}" if up else said
    if not failures:
        return lead.strip(), row.next_action
    return f"{lead.strip()} {failures[0].detail}".strip(), failures[0].fix
