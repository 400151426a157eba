"""Many TDVMs: what sixteen take beside cold ones, how fast they come beside bare QEMU, and the console."""

from __future__ import annotations

import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from _report import report

from labkit.guest.initramfs import COMMAND_LINE, build_initramfs, shell_port
from labkit.guest.types import LINUX
from labkit.settings import Settings
from labkit.toolchain import find_toolchain
from labkit.toolchain.toolchain import Toolchain
from labkit.vm import BootSpec, Hypervisor, MachineConfig, VirtualMachine, boot
from labkit.vm.spec import Accel, Accelerator, Port

MANY = 16
SEQUENCE = 100
LINES, BULK, COMMANDS = 200_000, 20_000_000, 300
COLD = 6
SERIAL_SHARE = 20
"""The serial port gets this part of the output; it takes a hundred times as long."""
TCG = Accelerator(Accel.TCG, "the benchmark compares TCG with TCG")


def main() -> None:
    """Measure, print, store."""
    toolchain = find_toolchain(Settings.load())
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(cache_dir=Path(folder) / "cache", state_dir=Path(folder) / "state")
        fast = _spec(toolchain, settings, toolchain.bash, toolchain.modules)
        serial = _spec(toolchain, settings, toolchain.bash, None)
        plain = _spec(toolchain, settings, None, toolchain.modules)
        hypervisor = Hypervisor(toolchain, settings, TCG)
        rows = [*_memory(fast, hypervisor), *_sequence(fast, hypervisor)]
        rows += _cold({"on hvc0": fast, "on the serial port": serial, "without bash": plain}, hypervisor)
        rows += [*_console(fast, serial, hypervisor), *_bash(fast, plain, hypervisor)]
    report("many", rows)


def _spec(toolchain: Toolchain, settings: Settings, bash: Path | None, modules: Path | None) -> BootSpec:
    initrd = build_initramfs(toolchain.busybox, settings.cache_dir, bash, modules)
    board = MachineConfig(shell=Port(shell_port(initrd.read_bytes()) or ""))
    return BootSpec(
        toolchain.firmware, toolchain.kernel, initrd, COMMAND_LINE, LINUX, memory=512, board=board
    )


def _memory(spec: BootSpec, hypervisor: Hypervisor) -> list[dict[str, Any]]:
    with boot(spec, hypervisor)[0] as machine:
        cold = machine.memory_taken()
    with ExitStack() as stack:
        machines = [stack.enter_context(boot(spec, hypervisor)[0]) for _ in range(MANY)]
        for machine in machines:
            machine.console.run("uname -a")
        warm = sum(machine.memory_taken() for machine in machines)
    what = f"memory of {MANY} warm TDVMs | of {MANY} times a cold one (MiB)"
    return [_row(what, warm / 2**20, MANY * cold / 2**20, "0.35")]


def _sequence(spec: BootSpec, hypervisor: Hypervisor) -> list[dict[str, Any]]:
    whole, bare = [], []
    for _ in range(SEQUENCE):
        start = time.perf_counter()
        with boot(spec, hypervisor)[0] as machine:
            whole.append(time.perf_counter() - start)
        bare.append(_bare_start(machine))
    what = f"warm boot until the shell has answered, one of {SEQUENCE} | QEMU's own start alone (seconds)"
    return [_row(what, median(whole), median(bare), "0.25 s")]


def _bare_start(machine: VirtualMachine) -> float:
    """The same QEMU with the same machine and memory, told to end as soon as it listens."""
    keep = ("-machine", "-accel", "-cpu", "-m", "-smp")
    words = dict(zip(machine.argv, machine.argv[1:], strict=False))
    options = [word for name in keep for word in (name, words[name].partition(",memory-backend")[0])]
    quiet = ["-nodefaults", "-no-user-config", "-display", "none", "-S", "-monitor", "stdio"]
    start = time.perf_counter()
    subprocess.run(
        [machine.argv[0], *quiet, *options], input=b"quit\n", stdout=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - start


def _cold(specs: dict[str, BootSpec], hypervisor: Hypervisor) -> list[dict[str, Any]]:
    """The first of ``specs`` beside the others: boots from power-on by turns, until the shell answered."""
    took: dict[str, list[float]] = {name: [] for name in specs}
    turns = list(specs.items())
    for _ in range(COLD):
        # Another begins each time: the machine may be slower for whoever comes after a pause.
        turns.append(turns.pop(0))
        for name, spec in turns:
            start = time.perf_counter()
            with boot(spec, hypervisor, cold=True)[0]:
                took[name].append(time.perf_counter() - start)
    ours, *others = took
    what = "boot from power-on with a shell {} | {}, " + f"{COLD} by turns (seconds)"
    goals = ("ratio 1.03", "ratio 1.02")
    return [
        _row(what.format(ours, other), median(took[ours]), median(took[other]), goal)
        for other, goal in zip(others, goals, strict=True)
    ]


def _console(fast: BootSpec, slow: BootSpec, hypervisor: Hypervisor) -> list[dict[str, Any]]:
    boot(slow, hypervisor)[0].close()
    with ExitStack() as stack:
        virtio, serial = (stack.enter_context(boot(spec, hypervisor)[0]) for spec in (fast, slow))
        trivial = _trivial(virtio, serial)
        lines = _took(virtio, f"seq {LINES}"), SERIAL_SHARE * _took(serial, f"seq {LINES // SERIAL_SHARE}")
        zeros = "head -c {} /dev/zero"
        bulk = (
            _took(virtio, zeros.format(BULK)),
            SERIAL_SHARE**2 * _took(serial, zeros.format(BULK // SERIAL_SHARE**2)),
        )
    return [
        _row("`true` | on the serial port (seconds)", *trivial, "ratio 1.0"),
        _row(f"seq {LINES} | on the serial port, from a part (seconds)", *lines, "2 s"),
        _row("MB/s of zeros | on the serial port", BULK / bulk[0] / 1e6, BULK / bulk[1] / 1e6, "5 MB/s"),
    ]


def _bash(fast: BootSpec, plain: BootSpec, hypervisor: Hypervisor) -> list[dict[str, Any]]:
    with boot(fast, hypervisor)[0] as bash, boot(plain, hypervisor)[0] as busybox:
        return [_row("`true` in bash | in busybox (seconds)", *_trivial(bash, busybox), "ratio 1.05")]


def _trivial(ours: VirtualMachine, peer: VirtualMachine) -> tuple[float, float]:
    """Medians of a command that does nothing, by turns."""
    pairs = [(_took(ours, "true"), _took(peer, "true")) for _ in range(COMMANDS)]
    mine, theirs = zip(*pairs, strict=True)
    return median(mine), median(theirs)


def _took(machine: VirtualMachine, command: str) -> float:
    return machine.console.run(command, timeout=600).seconds


def _row(what: str, ours: float, peer: float, goal: str) -> dict[str, Any]:
    return {"what": what, "ours": ours, "peer": peer, "ratio": ours / peer, "goal": goal}


if __name__ == "__main__":
    main()
