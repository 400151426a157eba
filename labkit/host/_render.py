"""How a host report shows itself: one line, a tree, a tree with evidence, HTML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from labkit.host._concerns import Concern
from labkit.host._contradictions import Contradiction
from labkit.host.model import CheckStatus, Facts, HostVerdict
from labkit.host.remedies import Remedy
from labkit.host.result import CheckResult
from labkit.settings import Trust
from labkit.show import clean, stamp
from labkit.show.markup import badge as emulated_badge
from labkit.show.markup import join
from labkit.show.tree import TreeNode, fold, paint, tree_html, tree_text, verdict_html

_TRACKS = {"host": "Host: is the TDX module up?", "launch": "Launch: can a TD be started?",
           "attestation": "Attestation: can its quotes be made?"}  # fmt: skip
_VALUE = 160  # characters of a piece of evidence in text


class RenderedReport(Protocol):
    """What is shown of a host report; its tracks are asked for by name."""

    @property
    def verdict(self) -> HostVerdict: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def summary(self) -> str: ...
    @property
    def next_action(self) -> str | None: ...
    @property
    def checks(self) -> tuple[CheckResult, ...]: ...
    @property
    def contradictions(self) -> tuple[Contradiction, ...]: ...
    @property
    def concerns(self) -> tuple[Concern, ...]: ...
    @property
    def remarks(self) -> tuple[str, ...]: ...
    @property
    def remedies(self) -> tuple[Remedy, ...]: ...
    @property
    def facts(self) -> Facts: ...


def short(report: RenderedReport, color: bool) -> str:
    """Verdict, reason, sentence and next action in one line."""
    line = f"{_head(report, color)}: {_one_line(report.summary)}"
    return f"{line} Next: {_one_line(report.next_action)}" if report.next_action else line


def tree(report: RenderedReport, *, verbose: bool, color: bool) -> str:
    """Verdict and next action, then the checks of every track as a tree."""
    parts = [_head(report, color), f"  {clean(report.summary)}"]
    if report.next_action:
        parts.append(f"  Next: {clean(report.next_action)}")
    for track, title in _TRACKS.items():
        verdict = getattr(report, track)
        word = paint(verdict.verdict.value, verdict.verdict.value, color)
        parts += ["", f"{title}  {word}{f' {verdict.reason}' if verdict.reason else ''}"]
        nodes = _nodes(report, track, None, verbose=verbose, html=False)
        parts.append(tree_text(nodes if verbose else _folded(nodes), color))
    parts += _concerns(report)
    parts += _contradictions(report)
    if report.remarks:
        parts += ["", "Remarks:", *(f"  {clean(remark)}" for remark in report.remarks)]
    for remedy in report.remedies:
        parts += ["", f"Remedy: {remedy.title} ({remedy.signs})"]
        parts += [f"  {number}. {step}" for number, step in enumerate(remedy.steps, 1)]
        parts += [f"  {link}" for link in (remedy.links if verbose else remedy.links[:1])]
    return "\n".join(parts)


def _concerns(report: RenderedReport) -> list[str]:
    lines = ["", "What may keep a TD from running:"] if report.concerns else []
    for entry in report.concerns:
        lines += [f"  {clean(entry.text)}", f"    Next: {clean(entry.action)}"]
        lines += [f"    {clean(pair[0])}: {_short(pair[1])}" for pair in entry.evidence]
    return lines


def _contradictions(report: RenderedReport) -> list[str]:
    lines = ["", "These facts contradict each other:"] if report.contradictions else []
    for entry in report.contradictions:
        lines += [
            f"  {clean(entry.text)}",
            *(f"    {clean(pair[0])}: {_short(pair[1])}" for pair in entry.evidence),
        ]
    return lines


def html(report: RenderedReport) -> str:
    """The banner, and a folding tree for every track."""
    trust = Trust.NONE if report.facts.emulated else Trust.HARDWARE
    parts = [
        emulated_badge(trust),
        verdict_html(report.verdict.value, report.reason or "", report.summary, report.next_action or ""),
    ]
    for track in _TRACKS:
        verdict = getattr(report, track)
        nodes = tuple(_nodes(report, track, None, verbose=True, html=True))
        summary = f"{verdict.verdict}{f' {verdict.reason}' if verdict.reason else ''}"
        status = {"READY": "PASS", "NOT_READY": "FAIL"}.get(verdict.verdict.value, "UNKNOWN")
        root = TreeNode(status, f"{_TRACKS[track]} {summary}", children=nodes)
        parts.append(tree_html([root]))
    if report.concerns:
        parts.append(fold("What may keep a TD from running", (entry.text for entry in report.concerns)))
    if report.contradictions:
        parts.append(
            fold("These facts contradict each other", (entry.text for entry in report.contradictions))
        )
    if report.remarks:
        parts.append(fold("Remarks", report.remarks))
    parts += [fold(f"Remedy: {entry.title}", (*entry.steps, *entry.links)) for entry in report.remedies]
    return str(join(parts))


def _head(report: RenderedReport, color: bool) -> str:
    word = paint(report.verdict.value, report.verdict.value, color)
    mark = stamp(Trust.NONE) if report.facts.emulated else ""
    return f"{mark}{word}{f' {report.reason}' if report.reason else ''}"


def _nodes(
    report: RenderedReport, track: str, parent: str | None, *, verbose: bool, html: bool
) -> list[TreeNode]:
    """Checks hang below the first check they need, within their own track."""
    ids = {result.check.id for result in report.checks if result.track == track}
    found = []
    for result in report.checks:
        if result.check.id not in ids:
            continue
        inside = [need for need in result.check.needs if need in ids]
        if (inside[0] if inside else None) != parent:
            continue
        children = tuple(_nodes(report, track, result.check.id, verbose=verbose, html=html))
        found.append(_node(report, result, children, verbose=verbose, html=html))
    return found


def _folded(nodes: Iterable[TreeNode]) -> tuple[TreeNode, ...]:
    """What was skipped, as one line: without its parent none of it can be told."""
    nodes = tuple(nodes)
    kept = tuple(
        replace(node, children=_folded(node.children)) for node in nodes if node.status != CheckStatus.SKIP
    )
    count = sum(_count(node) for node in nodes if node.status == CheckStatus.SKIP)
    line = f"{count} check{'s' if count > 1 else ''} skipped: they need what failed"
    return (*kept, TreeNode(CheckStatus.SKIP.value, line)) if count else kept


def _count(node: TreeNode) -> int:
    return 1 + sum(map(_count, node.children))


def _node(
    report: RenderedReport, result: CheckResult, children: tuple[TreeNode, ...], *, verbose: bool, html: bool
) -> TreeNode:
    failed, cause = result.status is CheckStatus.FAIL, result.check.reason == report.reason
    mark = "  ← root cause" if failed and cause else ""
    lines = [result.detail] if result.detail and result.status is not CheckStatus.SKIP else []
    if (failed and not cause) or result.status is CheckStatus.UNKNOWN:
        lines.append(result.fix or "")
    if result.status is CheckStatus.SKIP and verbose:
        lines.append(result.detail)
    if verbose:
        lines += [f"expected: {result.check.expected}", f"rule from: {result.check.source}"]
    if not html and (verbose or failed):
        lines += [f"{source}: {_short(value)}" for source, value in result.evidence]
    rows = result.evidence if html else ()
    return TreeNode(
        result.status.value,
        f"{result.check.title}{mark}",
        tuple(lines),
        rows,
        children,
        open=failed and cause,
    )


def _one_line(text: str) -> str:
    return " ".join(clean(text).split())


def _short(value: str) -> str:
    text = _one_line(value)
    return text if len(text) <= _VALUE else f"{text[: _VALUE - 1]}…"
