"""Who of a sandbox's processes does something, as the grader sees it: with processes of every kind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from labkit.course.family import asleep, family, larger, worked

SHARED = "import os, time\nblock = b'x' * (64 << 20)\nos.fork()\nos.fork()\ntime.sleep(600)"
THREAD = "import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin).start()"


@contextmanager
def started(line: str, count: int) -> Iterator[list[int]]:
    """A shell that waits for what it started, ``count`` processes in all."""
    with subprocess.Popen(["sh", "-c", f"{line}; true"], process_group=0) as process:
        try:
            wait_for(lambda: len(family(process.pid)) == count)
            yield family(process.pid)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end, "the deadline passed"
        time.sleep(0.01)


@pytest.mark.parametrize(("line", "count"), [("sleep 600", 2), ("sleep 600 | (sleep 600; true)", 4)])
def test_processes_that_all_wait_are_asleep(line: str, count: int) -> None:
    with started(line, count) as members:
        wait_for(lambda: asleep(members))


def test_what_processes_share_counts_once() -> None:
    """Four processes have one block of 64 MiB, and what a Python takes."""
    with started(f'{sys.executable} -c "{SHARED}"', 5) as members:
        assert larger(members, 64 << 20)
        assert not larger(members, 3 * 64 << 20)
        assert not larger(members, 1 << 40)
    wait_for(lambda: not larger(members, 0))


@pytest.mark.parametrize(
    "line", ["(while :; do :; done)", f"{sys.executable} -c '{THREAD}'"], ids=["a process", "a thread"]
)
def test_whoever_works_keeps_the_others_awake(line: str) -> None:
    """Also one that gets no processor: it is never seen asleep, whatever else this machine does."""
    with started(line, 2) as members:
        wait_for(lambda: not asleep(members))
        before = worked(members)
        wait_for(lambda: worked(members) > before + 0.2)
        assert not any(asleep(members) for _ in range(100))


def test_processes_that_have_ended_or_show_no_children_are_not_known_to_sleep() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        assert not asleep(family(process.pid))
        process.kill()
    assert family(process.pid) == [process.pid]
    assert worked([process.pid]) == 0
    assert not asleep([process.pid])
