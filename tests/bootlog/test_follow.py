"""A boot log that is followed while it comes: the console beside the serial port, silence, and the end."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from labkit.bootlog.follow import BootLog
from labkit.bootlog.timeline import Timeline
from labkit.console.stream import SocketStream
from labkit.errors import BootFailed

_PATIENCE = 30.0
"""Seconds after which a test that waits for what does not come has failed."""


class Watch:
    """Waits for ``# ``; everything that ends before it is a failure."""

    def __init__(self) -> None:
        self.stage = "firmware"
        self.reached = False
        self.fed: list[tuple[str, bytes]] = []

    def feed(self, stream: str, data: bytes, now: float) -> None:
        self.fed.append((stream, data))
        self.stage = data.decode().split()[0]
        self.reached = self.reached or b"# " in data

    def begin(self, stage: str, now: float) -> None:
        self.stage = stage

    def complaint(self, now: float, ended: bool, exit_code: int | None) -> tuple[str, str] | None:
        over = now > _PATIENCE
        return (f"ended with {exit_code}", "Boot it again.") if ended or over else None

    def due(self, now: float) -> float:
        return _PATIENCE - now

    def timeline(self, now: float) -> Timeline:
        raise NotImplementedError


class Console:
    """Answers of a guest's console, one a read; nothing more is read behind them."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)

    def read(self, timeout: float) -> bytes | None:
        return self.answers.pop(0)


@contextmanager
def followed(folder: Path, handover: str = "") -> Iterator[tuple[BootLog, Watch, socket.socket]]:
    ours, theirs = socket.socketpair()
    watch = Watch()
    log = BootLog(SocketStream(ours, folder / "log"), watch, handover)
    try:
        yield log, watch, theirs
    finally:
        theirs.close()
        log.join()


def test_a_console_that_is_silent_for_a_while_is_read_on(tmp_path: Path) -> None:
    console: Any = Console(None, b"kernel\n", None, None, b"shell # ")
    said: list[str] = []
    with followed(tmp_path) as (log, watch, _):
        log.wait(lambda seconds: None, said.append, console)
    assert console.answers == []
    assert watch.fed == [("console", b"kernel\n"), ("console", b"shell # ")]
    assert [text.partition(" (")[0] for text in said] == ["firmware", "kernel"]


def test_a_console_that_has_ended_is_not_read_again_and_the_serial_port_decides(tmp_path: Path) -> None:
    console: Any = Console(b"kernel\n", b"")
    with followed(tmp_path) as (log, watch, theirs):
        theirs.sendall(b"shell # ")
        log.wait(lambda seconds: None, console=console)
    assert ("serial", b"shell # ") in watch.fed


def test_what_a_machine_left_in_its_console_is_read_before_it_is_judged(tmp_path: Path) -> None:
    with followed(tmp_path) as (log, _, theirs):
        theirs.close()
        log._thread.join()
        console: Any = Console(b"kernel\n", b"shell # ")
        log.wait(lambda seconds: 1, console=console)
    with followed(tmp_path) as (log, watch, theirs):
        theirs.close()
        log._thread.join()
        # The other end of its port may stay open: silence behind the end of the machine is the end.
        console = Console(b"kernel\n", None)
        with pytest.raises(BootFailed, match="ended with 7"):
            log.wait(lambda seconds: 7, console=console)
    assert watch.fed == [("console", b"kernel\n")]


@pytest.mark.parametrize(
    "pieces", [[b"BdsDxe: ex", b"it boot services\n"], [b"x" * 500 + b" exit boot services"]]
)
def test_the_handover_is_told_once_wherever_it_is_cut(tmp_path: Path, pieces: list[bytes]) -> None:
    told: list[str] = []
    console: Any = Console(*pieces, b"again exit boot services\n", b"shell # ")
    with followed(tmp_path, "exit boot services") as (log, _, _):
        log.wait(lambda seconds: None, console=console, on_handover=lambda: told.append("now"))
    assert told == ["now"]
