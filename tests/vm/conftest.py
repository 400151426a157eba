"""Fixtures of the virtual machine's tests: a shell on a terminal here, and one in a real guest."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from labkit.settings import Settings
from labkit.vm import (
    COMMAND_LINE,
    LINUX,
    Accel,
    Accelerator,
    BootSpec,
    Console,
    Machine,
    Toolchain,
    build_initramfs,
)
from labkit.vm import boot as boot_vm


class Terminal:
    """A shell on a pseudo-terminal, as a stream: what the guest has, without the guest."""

    def __init__(self, busybox: Path, noflsh: bool = True, shell: Sequence[str | Path] = ()) -> None:
        self.master, slave = pty.openpty()
        mode = termios.tcgetattr(slave)
        mode[0] &= ~(termios.ICRNL | termios.IXON)
        mode[1] &= ~termios.ONLCR
        mode[3] &= ~termios.ECHO
        mode[3] |= termios.NOFLSH if noflsh else 0
        termios.tcsetattr(slave, termios.TCSANOW, mode)
        self.shell = subprocess.Popen(
            [busybox, "setsid", "-c", *self._served(busybox, shell)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={"PATH": os.environ["PATH"], "PS1": "", "PS2": "", "HOME": "/"},
        )
        os.close(slave)

    @staticmethod
    def _served(busybox: Path, shell: Sequence[str | Path]) -> Sequence[str | Path]:
        """The shell as a guest serves it: one that ends is followed by another."""
        if not shell:
            return (busybox, "sh", "-i")
        serve = 'set -m; trap : INT; while :; do "$@"; export LABKIT_ENDED=$?; done'
        return (busybox, "sh", "-c", serve, "serve", *shell)

    def read(self, timeout: float) -> bytes | None:
        ready, _, _ = select.select([self.master], [], [], timeout)
        if not ready:
            return None
        try:
            return os.read(self.master, 1 << 16)
        except OSError:
            return b""

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.master, data) :]

    def close(self) -> None:
        # Its children lead groups of their own in its session: the hang-up of the terminal ends them.
        self.shell.send_signal(signal.SIGKILL)
        self.shell.wait()
        os.close(self.master)


@pytest.fixture(scope="session")
def toolchain_busybox(toolchain: Toolchain) -> Path:
    """The guest's static busybox, which runs on the host as well."""
    return toolchain.busybox


@pytest.fixture
def terminal(toolchain_busybox: Path) -> Iterator[Terminal]:
    """A shell's terminal."""
    terminal = Terminal(toolchain_busybox)
    yield terminal
    terminal.close()


@pytest.fixture
def console(terminal: Terminal) -> Console:
    """A console that has found its shell."""
    console = Console(terminal)
    console.handshake(10)
    return console


@pytest.fixture(scope="session")
def spec(toolchain: Toolchain, vm_settings: Settings) -> BootSpec:
    """labkit's own guest on the distribution's firmware."""
    initrd = build_initramfs(toolchain.busybox, vm_settings.cache_dir / "guest", toolchain.bash)
    return BootSpec(toolchain.firmware, toolchain.kernel, initrd, COMMAND_LINE, LINUX, memory=256)


TCG = Accelerator(Accel.TCG, "tests run under TCG")


@pytest.fixture
def guest(spec: BootSpec, toolchain: Toolchain, vm_settings: Settings) -> Iterator[Machine]:
    """A booted guest; the first use boots from power-on, the others resume."""
    machine, _ = boot_vm(spec, TCG, toolchain, vm_settings)
    with machine:
        yield machine
