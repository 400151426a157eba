"""A fleet as one table: hosts grouped by the cause, and what differs from the majority."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from labkit.fleet._read import COMPARED, FleetHost, UnreadHost, read_fleet
from labkit.host import REASONS, HostVerdict
from labkit.show import clean, columns, one_line
from labkit.show.markup import Markup, details, element, join, page, table

_NAMED = 6
_RANK = {HostVerdict.NOT_READY: 0, HostVerdict.INDETERMINATE: 1, HostVerdict.READY: 2}


@dataclass(frozen=True)
class FleetGroup:
    """Hosts with the same verdict for the same reason; ``next_actions`` with how many hosts each is for."""

    verdict: HostVerdict
    reason: str | None
    hosts: tuple[str, ...]
    next_actions: tuple[tuple[str, int], ...]

    @property
    def summary(self) -> str:
        """The reason in a sentence."""
        return (
            REASONS[self.reason].summary
            if self.reason
            else "TDX is up, and nothing stands in the way of a TD."
        )


@dataclass(frozen=True)
class FleetDifference:
    """A version that most hosts share, and those that have another: ``others`` by value."""

    what: str
    majority: str
    count: int
    others: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class FleetReport:
    """The verdicts about many hosts; ``unreadable`` are files from which nothing could be said."""

    hosts: tuple[FleetHost, ...]
    unreadable: tuple[UnreadHost, ...]

    @cached_property
    def groups(self) -> tuple[FleetGroup, ...]:
        """Failures first, the largest group first."""
        found: dict[tuple[HostVerdict, str | None], list[FleetHost]] = defaultdict(list)
        for host in self.hosts:
            found[host.verdict, host.reason].append(host)
        groups = [
            FleetGroup(
                verdict,
                reason,
                tuple(host.host for host in hosts),
                tuple(Counter(host.next_action for host in hosts if host.next_action).most_common()),
            )
            for (verdict, reason), hosts in found.items()
        ]
        return tuple(
            sorted(groups, key=lambda group: (_RANK[group.verdict], -len(group.hosts), group.reason or ""))
        )

    @cached_property
    def differences(self) -> tuple[FleetDifference, ...]:
        """What is not the same on every host that says it; nothing where no value has a majority."""
        found = []
        for what in COMPARED:
            values: dict[str, list[str]] = defaultdict(list)
            for host in self.hosts:
                if what in host.versions:
                    values[host.versions[what]].append(host.host)
            ranked = sorted(values.items(), key=lambda item: (-len(item[1]), item[0]))
            total = sum(map(len, values.values()))
            if len(ranked) > 1 and 2 * len(ranked[0][1]) > total:
                others = {value: tuple(names) for value, names in ranked[1:]}
                found.append(FleetDifference(what, ranked[0][0], len(ranked[0][1]), others))
        return tuple(found)

    def count(self, verdict: HostVerdict) -> int:
        """How many hosts have a verdict."""
        return sum(host.verdict is verdict for host in self.hosts)

    @property
    def emulated(self) -> bool:
        """The facts of some host were made up."""
        return any(host.emulated for host in self.hosts)

    @property
    def exit_code(self) -> int:
        """0: all are READY. 1: some are NOT_READY. 2: none is, but of some nothing can be said."""
        if self.count(HostVerdict.NOT_READY):
            return 1
        return 2 if self.count(HostVerdict.INDETERMINATE) or self.unreadable else 0

    @property
    def headline(self) -> str:
        """The fleet in one line."""
        parts = [f"{self.count(verdict)} {verdict.value}" for verdict in HostVerdict if self.count(verdict)]
        if self.unreadable:
            parts.append(f"{len(self.unreadable)} unreadable")
        mark = "[EMULATED] " if self.emulated else ""
        count = len(self.hosts) + len(self.unreadable)
        return f"{mark}{count} host{'s' * (count != 1)}: {', '.join(parts)}"

    def to_dict(self) -> dict[str, Any]:
        """The fleet with the contract's keys, and more beside them."""
        return {
            "hosts": len(self.hosts),
            "groups": [
                {
                    "verdict": group.verdict.value,
                    "reason": group.reason,
                    "count": len(group.hosts),
                    "hosts": list(group.hosts),
                    "summary": group.summary,
                    "next_actions": [
                        {"action": action, "hosts": count} for action, count in group.next_actions
                    ],
                }
                for group in self.groups
            ],
            "differences": [
                {
                    "what": entry.what,
                    "majority": entry.majority,
                    "count": entry.count,
                    "others": [
                        {"value": value, "hosts": list(hosts)} for value, hosts in entry.others.items()
                    ],
                }
                for entry in self.differences
            ],
            "unreadable": [{"host": entry.host, "why": entry.why} for entry in self.unreadable],
            "emulated": self.emulated,
        }

    def __str__(self) -> str:
        lines = [self.headline, ""]
        for group in self.groups:
            reason = f" {group.reason}" if group.reason else ""
            lines.append(f"{_count(group.hosts)} {group.verdict.value}{reason}: {group.summary}")
            lines.append(f"    {_names(group.hosts)}")
            lines += [f"    for {count}: {action}" for action, count in group.next_actions[:3]]
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} unreadable:")
            lines += [f"    {entry.host}: {entry.why}" for entry in self.unreadable[:_NAMED]]
        if self.differences:
            lines += ["", "Different from the majority:"]
            lines.append(
                columns(
                    (f"    {entry.what}", f"{value} (most have {entry.majority})", _names(hosts))
                    for entry in self.differences
                    for value, hosts in entry.others.items()
                )
            )
        return clean("\n".join(lines))

    def _repr_html_(self) -> str:
        return str(self.html())

    def html(self) -> Markup:
        """The fleet as markup."""
        groups = [
            (
                len(group.hosts),
                group.verdict.value,
                group.reason or "",
                join([group.summary, *(element("div", action) for action, _ in group.next_actions[:3])]),
                details(_names(group.hosts), ", ".join(group.hosts)),
            )
            for group in self.groups
        ]
        others = [
            (entry.what, f"{entry.majority} ({entry.count})", value, details(_names(hosts), ", ".join(hosts)))
            for entry in self.differences
            for value, hosts in entry.others.items()
        ]
        lost = [(entry.host, entry.why) for entry in self.unreadable]
        return join(
            [
                element("h1", self.headline),
                table(groups, ("hosts", "verdict", "reason", "what it is, what to do", "which")),
                *([element("h2", "Different from the majority")] if others else []),
                *([table(others, ("what", "most have", "these have", "which"))] if others else []),
                *([element("h2", "Unreadable"), table(lost, ("file", "why"))] if lost else []),
            ]
        )

    def page(self) -> str:
        """The same as a document that needs nothing from the network."""
        return page(self.headline, self.html())

    def prometheus(self) -> str:
        """The fleet in Prometheus's text format, for its node exporter's textfile collector."""
        lines = [
            "# HELP labkit_fleet_hosts Hosts by verdict and reason.",
            "# TYPE labkit_fleet_hosts gauge",
        ]
        for group in self.groups:
            labels = f'verdict="{group.verdict.value}",reason="{group.reason or ""}"'
            lines.append(f"labkit_fleet_hosts{{{labels}}} {len(group.hosts)}")
        lines += [
            "# HELP labkit_fleet_unreadable Facts files that could not be read.",
            "# TYPE labkit_fleet_unreadable gauge",
            f"labkit_fleet_unreadable {len(self.unreadable)}",
            "# HELP labkit_host_ready Whether a host can run TDs: 1 yes, 0 no, -1 not known.",
            "# TYPE labkit_host_ready gauge",
        ]
        value = {HostVerdict.READY: 1, HostVerdict.NOT_READY: 0, HostVerdict.INDETERMINATE: -1}
        lines += [
            f'labkit_host_ready{{host="{_label(host.host)}",reason="{host.reason or ""}"}} '
            f"{value[host.verdict]}"
            for host in self.hosts
        ]
        return "\n".join(lines) + "\n"

    def nagios(self) -> tuple[str, int]:
        """One line and the exit status of a Nagios plugin: 0 OK, 2 CRITICAL, 3 UNKNOWN."""
        status = {0: ("OK", 0), 1: ("CRITICAL", 2), 2: ("UNKNOWN", 3)}[self.exit_code]
        counts = " ".join(f"{verdict.value.lower()}={self.count(verdict)}" for verdict in HostVerdict)
        return f"TDX {status[0]} - {self.headline} | {counts} unreadable={len(self.unreadable)}", status[1]


def report_fleet(folder: Path, lost: Iterable[UnreadHost] = ()) -> FleetReport:
    """The report about the facts files in a folder, and about hosts whose facts are ``lost``.

    Raises:
        UsageError: there is no such folder, or no facts file in it.
    """
    entries = [*read_fleet(folder), *lost]
    hosts = tuple(entry for entry in entries if isinstance(entry, FleetHost))
    return FleetReport(hosts, tuple(entry for entry in entries if isinstance(entry, UnreadHost)))


def _count(hosts: tuple[str, ...]) -> str:
    return f"{len(hosts)} {'host' if len(hosts) == 1 else 'hosts'}"


def _names(hosts: tuple[str, ...]) -> str:
    more = f" and {len(hosts) - _NAMED} more" if len(hosts) > _NAMED else ""
    return ", ".join(one_line(host, 60) for host in hosts[:_NAMED]) + more


def _label(text: str) -> str:
    return one_line(text).replace("\\", "\\\\").replace('"', '\\"')
