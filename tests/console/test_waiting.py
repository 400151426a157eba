"""How long a shell may be silent: a real one, and a clock that goes on only where nothing comes from it."""

from __future__ import annotations

import os
import re
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit.console import Console, Listener
from labkit.errors import CommandTimeout, GuestGone

from .conftest import Terminal

_PATIENCE = 20.0
"""Real seconds in which a sign of life comes, however busy the machine is."""


class Quiet:
    """A terminal whose silence takes no time: what is waited for in vain passes at once."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.now = 1.0
        self.sent: list[tuple[float, bytes]] = []
        self.deaf = False
        self.waits: Callable[[], float] = lambda: 0.05
        self._alive = False

    def read(self, timeout: float) -> bytes | None:
        data = None if self.deaf else self.terminal.read(self.waits() if self._alive else _PATIENCE)
        self._alive = self._alive or data is not None
        if data is None:
            self.now += timeout
        return data

    def write(self, data: bytes) -> None:
        self.sent.append((self.now, data))
        # Whoever works answers no ping; everything else is answered at once.
        self._alive = self.deaf or _is_ping(data)
        if not self.deaf:
            self.terminal.write(data)

    def pings(self) -> list[float]:
        """When the shell was asked whether it reads again."""
        return [now for now, data in self.sent if _is_ping(data)]


def _is_ping(data: bytes) -> bool:
    return data.startswith(b"case ${") and b"PS1=$" in data


@pytest.fixture
def quiet(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Quiet:
    stream = Quiet(terminal)
    monkeypatch.setattr(time, "monotonic", lambda: stream.now)
    return stream


@pytest.fixture
def console(quiet: Quiet) -> Console:
    console = Console(quiet)
    console.handshake(1000)
    quiet.sent.clear()
    return console


def test_a_command_may_take_hours_once_its_shell_has_given_a_sign_of_life(
    console: Console, quiet: Quiet, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "end")
    start = quiet.now
    written = False

    def tick() -> None:
        nonlocal written
        if quiet.now - start > 3000 and not written:
            (tmp_path / "end").write_text("done\n")
            written, quiet.waits = True, lambda: _PATIENCE

    quiet.waits = lambda: 0.02
    result = console.run(f"cat {tmp_path}/end", listener=Listener(tick=_every(quiet, start, tick)))
    assert (result.output, result.exit_status) == ("done\n", 0)
    assert result.seconds > 3000
    asked = [now - start for now in quiet.pings()]
    assert asked == pytest.approx([0.3, 1.0, 3.0, 10.0, 30.0, 90.0, 270.0, 810.0, 2400.0], abs=0.06)
    # What the pings left behind is not in the next command.
    assert console.run("echo next", timeout=1000).raw == b"next\n"


def _every(quiet: Quiet, start: float, tick: Callable[[], None]) -> Callable[[], None]:
    """A listener's tick that does not stretch three thousand seconds to sixty thousand ticks."""

    def faster() -> None:
        tick()
        passed = quiet.now - start
        nearest = min(
            (due for due in (0.3, 1, 3, 10, 30, 90, 270, 810, 2400, 3001) if due > passed), default=0
        )
        if nearest:
            quiet.now = max(quiet.now, start + nearest - 0.04)

    return faster


def test_a_shell_that_gives_no_sign_of_life_is_given_up_after_12_seconds(
    console: Console, quiet: Quiet
) -> None:
    quiet.deaf, start = True, quiet.now
    with pytest.raises(GuestGone, match="no longer reads its terminal"):
        console.run("echo x")
    assert quiet.now - start == pytest.approx(12.0, abs=0.01)


class Late(Quiet):
    """What still comes of an interrupted command, or of its own prompt, comes behind the answer."""

    late = b""
    _answered = False

    def read(self, timeout: float) -> bytes | None:
        if self._answered and self.late:
            data, self.late = self.late, b""
            return data
        found = super().read(timeout)
        self._answered = self._answered or bool(found and self.late and re.search(rb":\w{10}:", found))
        return found


@pytest.fixture
def late(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> tuple[Late, Console]:
    stream = Late(terminal)
    monkeypatch.setattr(time, "monotonic", lambda: stream.now)
    console = Console(stream)
    console.handshake(1000)
    return stream, console


def test_what_comes_late_of_an_interrupted_command_is_not_in_the_next(late: tuple[Late, Console]) -> None:
    stream, console = late
    stream.late = b"\n^C"
    interrupts = iter([console.interrupt])
    listener = Listener(output=lambda data: next(interrupts, lambda: None)())
    assert console.run("echo started; sleep 1000", listener=listener).exit_status == 130
    assert stream.late == b""
    assert console.run("echo next").raw == b"next\n"


def test_a_prompt_of_its_own_behind_a_command_that_was_asked_after_is_not_in_the_next(
    late: tuple[Late, Console], tmp_path: Path
) -> None:
    stream, console = late
    os.mkfifo(tmp_path / "end")
    stream.late, start = b"me> ", stream.now

    def tick() -> None:
        if stream.now - start > 0.5 and stream.pings() and not (tmp_path / "written").exists():
            (tmp_path / "written").touch()
            stream.waits = lambda: _PATIENCE
            (tmp_path / "end").write_text("done\n")

    assert console.run(f"cat {tmp_path}/end", listener=Listener(tick=tick)).output == "done\n"
    assert stream.late == b""
    assert console.run("echo next").raw == b"next\n"


def test_patience_stretches_it(quiet: Quiet) -> None:
    console = Console(quiet, patience=3.0)
    console.handshake(1000)
    quiet.deaf, start = True, quiet.now
    with pytest.raises(GuestGone, match="no longer reads its terminal"):
        console.run("echo x")
    assert quiet.now - start == pytest.approx(36.0, abs=0.01)


def test_patience_stretches_the_search_for_the_shell(quiet: Quiet) -> None:
    quiet.deaf, start = True, quiet.now
    with pytest.raises(CommandTimeout, match="did not answer within 30 s"):
        Console(quiet, patience=3.0).handshake(10)
    assert quiet.now - start == pytest.approx(30.0, abs=0.1)


def test_patience_stretches_labkits_own_commands_and_no_others(quiet: Quiet) -> None:
    console = Console(quiet, patience=3.0)
    console.handshake(1000)
    with pytest.raises(CommandTimeout, match="did not end within 6 s"):
        console.ask("sleep 1000", 2)
    with pytest.raises(CommandTimeout, match="did not end within 2 s"):
        console.run("sleep 1000", 2)


def test_a_command_of_labkits_own_leaves_the_last_status(console: Console) -> None:
    console.run("(exit 9)")
    assert console.ask("true", 1000).exit_status == 0
    assert console.run("echo $?").output == "9\n"


def test_a_shell_that_ends_its_work_and_does_not_answer_is_asked_again_and_given_up(
    console: Console, quiet: Quiet
) -> None:
    """It answers nothing behind the first question: somebody else reads its terminal."""
    start, write = quiet.now, quiet.write

    def lose(data: bytes) -> None:
        if re.match(rb"_LK\w+=\$\?:", data):
            quiet.deaf = True
        write(data)

    quiet.write = lose  # type: ignore[method-assign]
    with pytest.raises(GuestGone, match=r"no longer answers.*too busy") as refused:
        console.run("echo x")
    assert "LABKIT_PATIENCE" in refused.value.remedy
    asked = [now - start for now, data in quiet.sent if re.search(rb"=\$\{?[\w?#*:]+\}?:\$-:\w{10}", data)]
    assert asked == pytest.approx([0.0, 0.5, 1.5, 4.0, 8.0], abs=0.01)
    assert quiet.now - start == pytest.approx(12.0, abs=0.01)


def test_a_ctrl_c_that_reaches_nobody_is_sent_three_times_more(console: Console, quiet: Quiet) -> None:
    quiet.deaf = True
    with pytest.raises(CommandTimeout, match="within 5 s"):
        console.run("echo x", timeout=5)
    sent = [now for now, data in quiet.sent if data == b"\x03"]
    assert [now - sent[0] for now in sent] == pytest.approx([0.0, 0.2, 0.6, 1.4], abs=0.01)
    assert quiet.now - sent[0] == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize(
    ("limit", "kept"), [(10, b"0123456789"), (8, b"0123\n[... 2 bytes not shown ...]\n6789")]
)
def test_the_head_and_the_tail_of_an_output_are_kept(terminal: Terminal, limit: int, kept: bytes) -> None:
    console = Console(terminal, output_limit=limit)
    console.handshake(20)
    assert console.run("printf 0123456789", timeout=20).raw == kept


def test_a_handshake_asks_again_until_its_time_is_over(quiet: Quiet) -> None:
    quiet.deaf = True
    with pytest.raises(CommandTimeout, match="within 3 s"):
        Console(quiet).handshake(3)
    assert quiet.now == pytest.approx(4.0, abs=0.01)
    assert len([data for _, data in quiet.sent if b"ignoreeof" in data]) >= 3


class Slow(Quiet):
    """A shell that is heard only from some moment on: its machine is busy."""

    until = 0.0

    def read(self, timeout: float) -> bytes | None:
        if self.now < self.until:
            self.now += min(timeout, 0.1)
            return None
        return super().read(timeout)


@pytest.mark.parametrize("seconds", [0.2, 0.7, 1.2, 1.7, 2.2, 2.7])
def test_a_shell_that_is_late_is_not_taken_for_one_whose_prompt_is_its_own(
    seconds: float, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode = termios.tcgetattr(terminal.master)
    mode[3] |= termios.ECHO
    termios.tcsetattr(terminal.master, termios.TCSANOW, mode)
    stream = Slow(terminal)
    stream.until = stream.now + seconds
    monkeypatch.setattr(time, "monotonic", lambda: stream.now)
    console = Console(stream)
    console.handshake(1000)
    stream.waits = lambda: _PATIENCE
    # The terminal shows what is typed, which is not the command's output.
    console.run("true")
    assert console.run("echo next").raw == b"next\n"
