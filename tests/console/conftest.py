"""A shell on a terminal here: what the console's tests speak with."""

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

from labkit.console import Console


class Terminal:
    """A shell on a pseudo-terminal, as a stream: what the guest has, without the guest."""

    def __init__(
        self, busybox: Path, noflsh: bool = True, shell: Sequence[str | Path] = (), once: bool = False
    ) -> None:
        self.master, slave = pty.openpty()
        mode = termios.tcgetattr(slave)
        mode[0] &= ~(termios.ICRNL | termios.IXON)
        mode[1] &= ~termios.ONLCR
        mode[3] &= ~termios.ECHO
        mode[3] |= termios.NOFLSH if noflsh else 0
        termios.tcsetattr(slave, termios.TCSANOW, mode)
        self.shell = subprocess.Popen(
            [busybox, "setsid", "-c", *(shell if once else self._served(busybox, shell))],
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
