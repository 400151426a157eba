"""The recorded logs, played to the machine's own reader over sockets; no guest runs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from labkit.asterinas.machine import AsterinasGuest, asterinas_command_line, asterinas_machine
from labkit.bootlog.follow import BootLog
from labkit.console.stream import SocketStream
from labkit.errors import BootFailed
from labkit.vm.spec import Port


@contextmanager
def played(
    folder: Path, serial: bytes, console: bytes, patience: float, ends: bool
) -> Iterator[tuple[BootLog, SocketStream]]:
    """A boot log and a console that another thread writes; the ports close at the end where it ``ends``."""
    (log, their_log), (shell, their_shell) = socket.socketpair(), socket.socketpair()
    streams = SocketStream(log, folder / "log"), SocketStream(shell, folder / "shell")
    boot_log = BootLog(streams[0], AsterinasGuest(patience=patience).watch())

    def write() -> None:
        their_log.sendall(serial)
        their_shell.sendall(console)
        if ends:
            their_shell.close()
            their_log.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield boot_log, streams[1]
    finally:
        writer.join()
        their_log.close()
        their_shell.close()
        boot_log.join()
        streams[1].close()


FAILING = {
    "06": (65, "The init process terminates with code 32512", "init=", True),
    "07": (None, "ACPI tables", "4096 MiB", False),
    "08": (None, "framebuffer", "OVMF", False),
    "09": (33, "initrd=initrd", "ELF", True),
    "10": (None, "second CPU", "one CPU", False),
    "11": (None, "GRUB 2.06", "2.12", False),
}


def logs(folder: Path, number: str) -> tuple[bytes, bytes]:
    found = {path.suffixes[-2]: path.read_bytes() for path in folder.glob(f"{number}-*.log")}
    return found.get(".ttyS0", b""), found.get(".hvc0", b"")


@pytest.mark.data
@pytest.mark.parametrize("number", FAILING)
def test_a_recorded_failure_ends_the_wait_with_its_remedy(
    shared_data: Path, tmp_path: Path, number: str
) -> None:
    code, words, remedy, ends = FAILING[number]
    serial, console = logs(shared_data / "boot-logs", number)
    patience = 1.0 if ends else 0.01
    with (
        played(tmp_path, serial, console, patience, ends) as (boot_log, shell),
        pytest.raises(BootFailed) as caught,
    ):
        boot_log.wait(lambda seconds: code, console=shell)
    assert words in caught.value.message
    assert remedy in caught.value.remedy


@pytest.mark.data
@pytest.mark.parametrize("number", ["01", "02", "03"])
def test_a_recorded_boot_ends_the_wait_at_the_prompt(shared_data: Path, tmp_path: Path, number: str) -> None:
    serial, console = logs(shared_data / "boot-logs", number)
    said: list[str] = []
    with played(tmp_path, serial, console, 1.0, ends=False) as (boot_log, shell):
        boot_log.wait(lambda seconds: None, said.append, shell)
        names = [stage.name for stage in boot_log.timeline().stages]
    assert names[0] == "firmware"
    assert names[-1] == "prompt"
    assert said


def test_a_machine_that_ends_without_a_word_is_no_boot(tmp_path: Path) -> None:
    with played(tmp_path, b"", b"", 1.0, ends=True) as (boot_log, shell):
        with pytest.raises(BootFailed, match="exit code 1,"):
            boot_log.wait(lambda seconds: 1, console=shell)
        with pytest.raises(BootFailed, match="QEMU ended in stage"):
            boot_log.wait(lambda seconds: None, console=shell)


def test_a_panic_after_the_prompt_is_told(tmp_path: Path) -> None:
    panic = b"~ # x\r\n[ 1.2] ERROR : Uncaught panic:\n\tboom\n\tat kernel/src/x.rs:1\n"
    with played(tmp_path, b"", panic, 1.0, ends=True) as (boot_log, shell):
        boot_log.wait(lambda seconds: 65, console=shell)
        complaint = boot_log.complaint(lambda seconds: 65)
    assert complaint is not None
    assert "boom at kernel/src/x.rs:1" in complaint[0]


def test_the_command_line_is_the_observed_one() -> None:
    observed = (
        "SHELL=/bin/sh LOGNAME=root HOME=/ USER=root PATH=/bin:/benchmark init=/init ostd.log_level=error "
        "console=hvc0 -- sh -l"
    )
    assert asterinas_command_line() == observed
    assert asterinas_command_line("a=1 b").endswith("ostd.log_level=error a=1 b console=hvc0 -- sh -l")
    assert asterinas_command_line(firmware=True) == f"{observed} -s"
    assert "console=ttyS0" in asterinas_command_line(console="ttyS0")
    own = asterinas_command_line("console=ttyS0 x -- sh -c ls", firmware=True)
    assert own.endswith("ostd.log_level=error console=ttyS0 x -- sh -c ls")


def test_the_board_is_the_observed_one() -> None:
    board = asterinas_machine()
    assert (board.cpu, board.machine) == ("Icelake-Server,+x2apic", "q35,kernel-irqchip=split")
    assert (board.shell, board.debug_exit) == (Port.HVC0, True)
    assert asterinas_machine(Port.TTYS0).shell is Port.TTYS0


def test_a_shell_that_is_there_has_no_deadline() -> None:
    watcher = AsterinasGuest().watch()
    watcher.feed("console", b"~ # ", 7.0)
    assert (watcher.reached, watcher.due(9.0)) == (True, 3600.0)
