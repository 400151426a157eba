from __future__ import annotations

import pytest

from labkit.errors import UsageError
from labkit.vm.memory import LINUX_MEMORY, check_memory, free_memory
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
