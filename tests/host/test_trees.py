"""Synthetic file trees of hosts: kernel generations, vendors, faults, and pairs that differ in one thing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labkit.host import REASONS, HostReport, verify
from labkit.host.tree import Tree
from tests.host.hosts import BY_NAME, GOOD, HOSTS, PAIRS, Host, build


def _verify(name: str, tmp_path: Path) -> HostReport:
    return verify(build(BY_NAME[name], tmp_path / name))


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.name)
def test_each_host_gives_its_verdict_and_reason(host: Host, tmp_path: Path) -> None:
    report = verify(build(host, tmp_path))
    assert (report.verdict, report.reason) == (host.verdict, host.reason), report
    assert host.mentions in report.summary


@pytest.mark.parametrize(("one", "other", "difference"), PAIRS)
def test_pairs_differ_in_reason(one: str, other: str, difference: str, tmp_path: Path) -> None:
    files = [{**GOOD, **BY_NAME[name].files} for name in (one, other)]
    changed = {path for path in {*files[0], *files[1]} if files[0].get(path) != files[1].get(path)}
    assert len(changed) == 1, changed
    reports = _verify(one, tmp_path), _verify(other, tmp_path)
    assert reports[0].reason != reports[1].reason, difference


def test_there_are_enough_hosts_and_every_reason_that_files_can_show() -> None:
    assert len(HOSTS) >= 25
    only_from_facts = {"QEMU_NO_TDX", "QEMU_KVM_ABI_MISMATCH"}  # a tree's QEMU is never run
    host_reasons = {code for code, row in REASONS.items() if row.track != "attestation"}
    assert {host.reason for host in HOSTS} - {None} == host_reasons - only_from_facts, (
        "HOSTS in tests/host/hosts.py has a host for each reason"
    )


def test_not_ready_always_has_one_reason_an_action_and_the_failed_check(tmp_path: Path) -> None:
    for host in HOSTS:
        report = verify(build(host, tmp_path / host.name))
        if report.verdict == "NOT_READY":
            assert report.next_action
            assert any(r.check.reason == report.reason and r.status == "FAIL" for r in report.checks)
        if report.verdict == "READY":
            assert report.reason is None
            assert all(r.status != "FAIL" for r in report.checks if r.track != "attestation")


def test_a_copy_of_a_tree_does_not_reach_out_of_itself(tmp_path: Path) -> None:
    root = build(BY_NAME["good-6.17"], tmp_path / "root")
    secret = tmp_path / "outside"
    secret.write_text("tdx 1\n")
    capacity = root / "sys/fs/cgroup/misc.capacity"
    capacity.unlink()
    capacity.symlink_to(secret)
    assert verify(root).facts.get("cgroup.tdx_capacity").value is None


def test_links_of_a_copy_are_followed_inside_it_where_the_copy_itself_is_named_by_a_link(
    tmp_path: Path,
) -> None:
    root = build(BY_NAME["good-6.17"], tmp_path / "root")
    (root / "proc/cmdline").rename(root / "kept")
    (root / "proc/cmdline").symlink_to("/kept")
    named = tmp_path / "named"
    named.symlink_to(root)
    assert Tree(named).read("/proc//cmdline") == (root / "kept").read_text()


def test_an_endless_link_is_only_a_missing_fact(tmp_path: Path) -> None:
    root = build(BY_NAME["good-6.17"], tmp_path / "root")
    state = root / "sys/power/state"
    state.unlink()
    state.symlink_to("state")
    assert verify(root).verdict == "READY"


def test_a_pipe_in_the_place_of_a_file_does_not_hang(tmp_path: Path) -> None:
    root = build(BY_NAME["good-6.17"], tmp_path / "root")
    (root / "proc/cmdline").unlink()
    os.mkfifo(root / "proc/cmdline")
    assert verify(root).verdict == "READY"


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        Tree(tmp_path).read("pipe")
