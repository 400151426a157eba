"""The program that gives the guest's shell a terminal of its own; it is run here, on this machine's Linux."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.asterinas.terminal import terminal_program


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "own-terminal"
    path.write_bytes(terminal_program())
    path.chmod(0o755)
    return path


class Typist:
    """Someone at the console on which the program was started."""

    def __init__(self, *argv: str | Path) -> None:
        self._running = True
        self.pid, self._console = pty.fork()
        if self.pid == 0:
            os.environ["PS1"] = "ready> "
            os.execv(argv[0], [str(word) for word in argv])

    def wait_for(self, words: str, seconds: float = 20) -> str:
        """What is shown until ``words`` are."""
        shown, deadline = b"", time.monotonic() + seconds
        while words.encode() not in shown:
            assert time.monotonic() < deadline, shown
            if select.select([self._console], [], [], 0.2)[0]:
                shown += os.read(self._console, 4096)
        return shown.decode()

    def type(self, text: str) -> None:
        os.write(self._console, text.encode())

    def status(self) -> int:
        self._running = False
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        if self._running:
            os.kill(self.pid, signal.SIGKILL)
            self.status()
        os.close(self._console)


@pytest.fixture
def typist(program: Path) -> Iterator[Typist]:
    found = Typist(program, "/bin/sh", "-i")
    yield found
    found.close()


def test_ctrl_c_reaches_what_runs_and_the_shell_goes_on(typist: Typist) -> None:
    typist.wait_for("ready> ")
    # The program itself says that it runs: one that is only about to start may miss a Ctrl-C.
    typist.type("sh -c 'echo on-$((1+1)); exec sleep 1000'\n")
    typist.wait_for("on-2")
    typist.type("\x03")
    typist.wait_for("ready> ")
    typist.type("echo status-$?\n")
    typist.wait_for("status-130")


def test_terminal_is_another_one_and_the_status_is_the_shells(typist: Typist) -> None:
    typist.wait_for("ready> ")
    typist.type("tty; echo done-$((3+4))\n")
    assert "/dev/pts/" in typist.wait_for("done-7")
    typist.type("exit 7\n")
    assert typist.status() == 7


def test_much_output_comes_whole(typist: Typist) -> None:
    typist.wait_for("ready> ")
    typist.type("seq 20000; echo end-$((5+5))\n")
    shown = typist.wait_for("end-10")
    numbers = [line for line in shown.replace("\r", "").split("\n") if line.isdecimal()]
    assert numbers == [str(number) for number in range(1, 20001)]


def test_without_a_console_the_program_is_executed_all_the_same(program: Path) -> None:
    argv: list[str | Path] = [program, "/bin/sh", "-c", 'echo "$0 $1"; exit 3', "a b", "c"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=20)
    assert (done.stdout, done.returncode) == (b"a b c\n", 3)
