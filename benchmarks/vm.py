"""Booting beside the same QEMU command line started bare; resuming; the console's round trip."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from _report import middle, paired, report

from labkit.guest.initramfs import COMMAND_LINE, SHELL_MARKER, build_initramfs, shell_port
from labkit.guest.types import LINUX
from labkit.settings import Settings
from labkit.toolchain import find_toolchain
from labkit.toolchain.toolchain import Toolchain
from labkit.vm import BootSpec, Hypervisor, MachineConfig, boot
from labkit.vm.qemu import Sockets, qemu_arguments
from labkit.vm.spec import Accel, Accelerator, Port

ROUNDS = 3
RESUMES = 7
COMMANDS = 300
TCG = Accelerator(Accel.TCG, "the benchmark compares TCG with TCG")


def bare_boot(spec: BootSpec, toolchain: Toolchain) -> None:
    """What a shell script would do: make a vTPM, start it, start QEMU, wait for the marker on its output."""
    assert spec.firmware is not None
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "tpm").mkdir()
        shutil.copyfile(spec.firmware.vars, work / "vars.fd")
        setup = ("--tpm2", "--tpmstate", work / "tpm", "--pcr-banks", "sha256,sha384")
        quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(
            toolchain.swtpm_setup.argv(*setup),
            env=toolchain.swtpm_setup.environ(),
            stdout=subprocess.DEVNULL,
            check=True,
            **quiet,
        )
        tpm = ("socket", "--tpm2", "--terminate", "--tpmstate", f"dir={work}/tpm")
        control = ("--ctrl", f"type=unixio,path={work}/sock")
        swtpm = subprocess.Popen(toolchain.swtpm.argv(*tpm, *control), env=toolchain.swtpm.environ(), **quiet)
        while not (work / "sock").exists():
            os.sched_yield()
        words = qemu_arguments(spec, Accel.TCG, Sockets(0, 0, 0, tpm=0), work / "vars.fd")
        plain = {
            "socket,id=log,fd=0": "stdio,id=log,signal=off",
            "socket,id=shell,fd=0": "null,id=shell",
            "socket,id=control,fd=0": "null,id=control",
            "socket,id=tpm,fd=0": f"socket,id=tpm,path={work}/sock",
        }
        qemu = subprocess.Popen(
            toolchain.qemu.argv(*(plain.get(word, word) for word in words)),
            env=toolchain.qemu.environ(),
            stdout=subprocess.PIPE,
            **quiet,
        )
        assert qemu.stdout is not None
        for line in qemu.stdout:
            if line.strip() == SHELL_MARKER.encode():
                break
        qemu.kill()
        qemu.communicate()
        swtpm.wait()


def main() -> None:
    """Measure, print, store."""
    toolchain = find_toolchain(Settings.load())
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(cache_dir=Path(folder) / "cache", state_dir=Path(folder) / "state")
        initrd = build_initramfs(toolchain.busybox, settings.cache_dir, toolchain.bash, toolchain.modules)
        board = MachineConfig(shell=Port(shell_port(initrd.read_bytes()) or ""))
        spec = BootSpec(
            toolchain.firmware, toolchain.kernel, initrd, COMMAND_LINE, LINUX, memory=512, board=board
        )
        rows = [_cold(spec, toolchain, settings), _resume(spec, toolchain, settings)]
        rows.append(_console(spec, toolchain, settings))
    report("vm", rows)


def _cold(spec: BootSpec, toolchain: Toolchain, settings: Settings) -> dict[str, Any]:
    pairs = []
    for _ in range(ROUNDS):
        with ExitStack() as machines:
            # Closing is not part of a boot: the bare one is killed, which takes no time.
            def ours(stack: ExitStack = machines) -> None:
                stack.enter_context(boot(spec, Hypervisor(toolchain, settings, TCG), cold=True)[0])

            pairs += paired(ours, lambda: bare_boot(spec, toolchain), 1)
    mine, theirs, ratio = middle(pairs)
    name = "cold boot to the shell | the same QEMU command line, bare"
    return {"what": name, "seconds": mine, "peer": theirs, "ratio": ratio, "goal": "ratio 1.05"}


def _resume(spec: BootSpec, toolchain: Toolchain, settings: Settings) -> dict[str, Any]:
    boot(spec, Hypervisor(toolchain, settings, TCG))[0].close()
    times = []
    for _ in range(RESUMES):
        start = time.perf_counter()
        machine, _ = boot(spec, Hypervisor(toolchain, settings, TCG))
        with machine:
            machine.console.run("true")
            times.append(time.perf_counter() - start)
    goal = "0.5 s"
    return {
        "what": "resume to the first command",
        "seconds": median(times),
        "peer": "-",
        "ratio": "-",
        "goal": goal,
    }


def _console(spec: BootSpec, toolchain: Toolchain, settings: Settings) -> dict[str, Any]:
    machine, _ = boot(spec, Hypervisor(toolchain, settings, TCG))
    with machine:
        times = [machine.console.run("true").seconds for _ in range(COMMANDS)]
    name = f"console round trip (95 %: {quantiles(times, n=20)[-1] * 1000:.1f} ms)"
    return _row(name, median(times), "0.003 s")


def _row(what: str, seconds: float, goal: str) -> dict[str, Any]:
    return {"what": what, "seconds": seconds, "peer": "-", "ratio": "-", "goal": goal}


if __name__ == "__main__":
    main()
