"""Logs meant to hurt: 20 MB, binary noise, 1 MB lines; memory and the lines examined stay bounded."""

from __future__ import annotations

import io
import os
import random
import tracemalloc
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest

from labkit.host import Facts, collect, diagnose
from labkit.host import log as logs
from labkit.host.log import read_log, read_log_file
from labkit.host.model import KernelLog, LogState
from labkit.host.wrapping import Unwrapped, unwrap

SIZE = 12 << 20
BLOCK = 1 << 20
UP = b"[   34.000000] virt/tdx: module initialized\n"


class Stream(io.RawIOBase):
    """A log of SIZE bytes that is never in memory as a whole; the success line stands at its end."""

    def __init__(self, blocks: Iterator[bytes], tail: bytes = b"\n" + UP) -> None:
        self._blocks, self._tail, self._left = blocks, tail, SIZE

    def read(self, size: int = -1) -> bytes:
        if self._left > 0:
            block = next(self._blocks)
            self._left -= len(block)
            return block
        tail, self._tail = self._tail, b""
        return tail


def lines(template: bytes) -> Iterator[bytes]:
    return repeat(b"".join(template % (index, index) for index in range(20_000)))


KINDS: dict[str, Iterator[bytes]] = {
    "other subsystems": lines(b"[%12d.000001] usb 1-1: new high-speed USB device number %d\n"),
    "run-time errors": lines(b"[%12d.000001] SEAMCALL (0x1c) failed: 0xc000030000000001 RCX %d\n"),
    "lines of TDX's own code": lines(b"[%12d.000001] virt/tdx: CMR: [0x0, 0x%x)\n"),
    "decoys": lines(b"[%12d.000001] node-tdx-%d\n"),
    "binary noise": repeat(random.Random(7).randbytes(BLOCK)),
    "lines of 1 MB": repeat(b"tdx kvm " * (BLOCK // 8 - 1) + b"1234567\n"),
    "one endless line": repeat(b"virt/tdx: " * (BLOCK // 10)),
    "NUL": repeat(b"\0" * BLOCK),
    "newlines": repeat(b"\n" * BLOCK),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_log_beyond_the_bound_is_read_to_its_end_within_it(kind: str) -> None:
    tracemalloc.start()
    try:
        log = read_log(Stream(KINDS[kind]), "log")  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20, f"{peak >> 20} MB for {kind}"
    assert len(log.lines) <= 4 * logs.MAX_REPEATS
    assert diagnose(Facts(log=log)).verdict == "READY"


def test_a_dump_whose_offsets_leap_takes_no_more_memory_than_a_document_may() -> None:
    said = b"[    1.0] usb 1-"
    pairs = " ".join(said[at : at + 2].hex() for at in range(0, 16, 2))
    dump = "".join(f"{number << 20:08x}: {pairs}  {said.decode()}\n" for number in range(600)).encode()
    tracemalloc.start()
    try:
        assert read_log(io.BytesIO(dump), "log").total_lines == 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 320 << 20, f"{peak >> 20} MB"


def test_only_so_many_lines_are_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    examined: list[str] = []

    def counted(line: str) -> Unwrapped:
        examined.append(line)
        return unwrap(line)

    monkeypatch.setattr(logs, "unwrap", counted)
    read_log(Stream(lines(b"[%12d.000001] virt/tdx: CMR: [0x0, 0x%x)\n")), "log")  # type: ignore[arg-type]
    assert logs.MAX_EXAMINED <= len(examined) <= logs.MAX_EXAMINED + 200


def test_a_line_is_cut_not_joined_with_what_follows() -> None:
    text = b"x" * (3 * BLOCK) + b" virt/tdx: module initialized\n[    2.0] virt/tdx: module not loaded\n"
    log = read_log(io.BytesIO(text), "log")
    assert [line.text for line in log.lines] == ["virt/tdx: module not loaded"]


@pytest.mark.parametrize("shift", range(-3, 4))
def test_a_line_on_the_seam_of_two_blocks_is_seen(shift: int) -> None:
    filler = b"[    1.000000] usb 1-1: a device\n"
    head = filler * (BLOCK // len(filler))
    text = (
        head[: BLOCK - len(UP) // 2 + shift].rpartition(b"\n")[0] + b"\n" + b"a" * (len(UP) // 2) + b"\n" + UP
    )
    assert read_log(io.BytesIO(text + filler), "log").lines[-1].text == "virt/tdx: module initialized"


def test_a_folder_or_nothing_in_the_place_of_a_log_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        read_log_file(tmp_path, "log")
    (tmp_path / "empty").mkdir()
    log: KernelLog = collect(tmp_path / "empty", tmp_path / "nothing").log
    assert (log.state, log.why) == (LogState.UNREADABLE, "No such file or directory")


def test_a_terminal_in_the_place_of_a_log_is_not_waited_for() -> None:
    master, slave = os.openpty()
    try:
        with pytest.raises(OSError, match="a terminal"):
            read_log_file(Path(os.ttyname(slave)), "log")
    finally:
        os.close(master)
        os.close(slave)


def test_no_more_than_the_limit_of_a_log_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 3 * BLOCK)

    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            Endless.given += BLOCK
            assert Endless.given < 20 * BLOCK
            return next(KINDS["other subsystems"])

    log = read_log(Endless(), "log")  # type: ignore[arg-type]
    assert log.state is LogState.READ
    assert Endless.given <= 6 * BLOCK


def test_of_an_overlong_file_the_end_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 4096)
    path = tmp_path / "kern.log"
    path.write_bytes(b"[    1.000000] virt/tdx: module not loaded\n" + b"[    2.000000] usb\n" * 1000 + UP)
    assert [line.text for line in read_log_file(path, "log").lines] == ["virt/tdx: module initialized"]
