from __future__ import annotations

import os
from pathlib import Path

import pytest

from labkit.errors import UsageError
from labkit.vm.memory import LINUX_MEMORY, check_memory, free_memory, group_room
from labkit.vm.rundir import RunningVm

MEMINFO = "MemTotal: 4194304 kB\nMemAvailable: 2097152 kB\n"
# Of a machine whose process is gone, all that it was promised counts.
PROMISED = RunningVm("a", 1, 1 << 22, 0.0, "tcg", 1024, "/nowhere")


def test_nothing_asked_for_is_the_default() -> None:
    assert LINUX_MEMORY.given(None) == LINUX_MEMORY.default


@pytest.mark.parametrize("wanted", [-5, 0, 1, 255])
def test_too_little_is_refused_with_what_is_enough(wanted: int) -> None:
    with pytest.raises(UsageError, match=f"^{wanted} MiB of memory is too little") as refused:
        LINUX_MEMORY.given(wanted)
    assert refused.value.remedy == "Ask for 512, or leave it out."


def test_the_least_is_enough() -> None:
    assert LINUX_MEMORY.given(256) == 256


def test_guests_are_limited_by_what_the_running_ones_may_still_take() -> None:
    check_memory(1024, [], MEMINFO)
    check_memory(1024, [PROMISED], MEMINFO)
    with pytest.raises(UsageError, match="does not fit: 2 are running, and 0 MiB are left") as refused:
        check_memory(512, [PROMISED, PROMISED], MEMINFO)
    assert "labkit ps" in refused.value.remedy


def test_one_guest_larger_than_the_host_is_refused() -> None:
    check_memory(2048, [], MEMINFO)
    with pytest.raises(
        UsageError, match=r"2049 MiB of memory is more than this machine has free \(2048 MiB\)"
    ):
        check_memory(2049, [], MEMINFO)


def test_a_host_that_does_not_say_is_not_refused() -> None:
    assert free_memory([], "MemTotal: 1 kB\n") == 1 << 20


def test_a_students_share_of_a_server_counts_whatever_the_server_has() -> None:
    check_memory(512, [], MEMINFO, budget=512)
    with pytest.raises(UsageError, match=r"does not fit your share.*is 511 MiB") as refused:
        check_memory(512, [], MEMINFO, budget=511)
    assert refused.value.remedy.startswith("Ask for less")
    with pytest.raises(UsageError, match="is 1535 MiB: your TDVMs have 1024 MiB of it") as refused:
        check_memory(512, [PROMISED], MEMINFO, budget=1535)
    assert "labkit stop" in refused.value.remedy
    with pytest.raises(UsageError, match="1536 MiB of memory does not fit your share"):
        check_memory(512, [], MEMINFO, budget=1024, count=3)


def test_several_guests_are_counted_together_and_how_many_fit_is_said() -> None:
    check_memory(700, [], MEMINFO, count=2)
    with pytest.raises(
        UsageError, match="3 TDVMs of 700 MiB do not fit: 2048 MiB are left, for 2"
    ) as refused:
        check_memory(700, [], MEMINFO, count=3)
    assert refused.value.remedy.startswith("Ask for 2,")
    with pytest.raises(UsageError, match="for none of them") as refused:
        check_memory(2049, [], MEMINFO, count=2)
    assert "labkit stop" in refused.value.remedy


def test_a_guest_that_has_all_its_memory_takes_no_more() -> None:
    # This process has more than 1 MiB, as a QEMU of such a guest would.
    grown = RunningVm("a", 1, os.getpid(), 0.0, "tcg", 1, "/nowhere")
    assert free_memory([grown, grown], MEMINFO) == 2048


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / f"memory.{name}").write_text(f"{value}\n")


def test_a_container_has_what_its_control_group_leaves(tmp_path: Path) -> None:
    """Version 2, where the group above has the tighter limit, and the files in memory can be dropped."""
    own = tmp_path / "own"
    own.write_text("0::/pod:1/student\n")
    group(tmp_path / "pod:1/student", max=2048 << 20, current=100 << 20, stat="anon 1\ninactive_file 0")
    group(tmp_path / "pod:1", max=1024 << 20, current=700 << 20, stat=f"inactive_file {200 << 20}")
    group(tmp_path, max="max", current=1, stat="")
    assert group_room(tmp_path, own) == [1948, 524]


def test_the_older_control_groups_are_read_too(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("5:devices:/x\n4:cpu,memory:/gone\n0::/\n")
    group(tmp_path / "memory", limit_in_bytes=512 << 20, usage_in_bytes=12 << 20)
    assert group_room(tmp_path, own) == [500]
    assert group_room(tmp_path, tmp_path / "nothing") == []
