"""Interrupt, restart and shutdown."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from labkit import process
from labkit.settings import Settings
from labkit.vm.rundir import running

from .client import Frontend

pytestmark = pytest.mark.vm

# Generous against a busy machine; benchmarks/kernel.py measures the goal of 0.3 s.
SOON = 10.0


@pytest.mark.parametrize(
    "code",
    [
        "echo go; sleep 600",
        "echo go; while :; do :; done",
        "echo go; yes",
        "echo go; cat </dev/tty",
        "echo go; sleep 600 | cat",
        "trap : INT; echo go; sleep 600",
        "echo go; sh -c 'sleep 600'",
        "stty -echo raw isig </dev/tty; echo go; sleep 600",
    ],
)
def test_an_interrupt_ends_a_cell_and_the_next_one_runs(frontend: Frontend, code: str) -> None:
    cell, seconds = frontend.interrupted(code, "go")
    assert cell.error[0] == "ExitStatus"
    assert seconds < SOON
    after = frontend.run("trap - INT; echo next")
    assert after.text() == "next\n"


def test_an_interrupt_while_somebody_is_asked_ends_the_question(frontend: Frontend) -> None:
    def answer(prompt: str, hidden: bool) -> str:
        frontend.interrupt()
        return "too late"

    cell = frontend.run("read name; echo never", answer=answer)
    assert cell.error == ("ExitStatus", "130")
    assert frontend.run("echo next").text() == "next\n"


def test_an_interrupt_of_nothing_does_no_harm(frontend: Frontend) -> None:
    frontend.interrupt_and_wait()
    assert frontend.run("echo next").text() == "next\n"


def test_the_third_interrupt_ends_what_ignores_the_first_two(frontend: Frontend) -> None:
    presses = 0

    def press(text: str) -> None:
        nonlocal presses
        presses += 1
        frontend.interrupt()

    cell = frontend.run("trap '' INT; while :; do echo go; sleep 1; done", on_stream=press)
    assert presses >= 3
    assert cell.error[0] == "GuestGone"
    assert "in spite of Ctrl-C" in cell.text("stderr")
    assert frontend.run("echo next").text() == "next\n"


def test_a_host_cell_can_be_interrupted(frontend: Frontend, tmp_path: Path) -> None:
    threading.Timer(0.5, frontend.interrupt).start()
    cell = frontend.run("%%host\nsleep 600")
    assert cell.error == ("ExitStatus", "130")
    assert cell.seconds < SOON


def test_a_restart_gives_a_fresh_guest_even_in_the_middle_of_a_cell(fresh: Frontend) -> None:
    fresh.run("x=5; echo y >/root/y")
    fresh.client.execute("sleep 600")
    fresh.manager.restart_kernel(now=False)
    fresh.client.wait_for_ready(timeout=60)
    assert fresh.run("echo ${x-none}; ls /root").text() == "none\n"


@pytest.mark.parametrize("end", ["shutdown", "kill"])
def test_nothing_is_left_of_a_kernel(kernelspec: str, vm_settings: Settings, end: str) -> None:
    before = {vm.id for vm in running(vm_settings)}
    frontend = Frontend()
    frontend.run("%snapshot state")
    (machine,) = [vm for vm in running(vm_settings) if vm.id not in before]
    if end == "shutdown":
        frontend.close()
    else:
        frontend.client.stop_channels()
        frontend.manager.shutdown_kernel(now=True)
        frontend.manager.cleanup_resources()
    wait = f"while [ -e /proc/{machine.qemu_pid} ]; do sleep 0.05; done"
    assert process.run(["sh", "-c", wait], timeout=20, env=dict(os.environ)).ok
    assert machine.id not in {vm.id for vm in running(vm_settings)}
    assert not (Path(machine.run_dir) / "work").exists()
