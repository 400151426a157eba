"""A guest's byte stream: in a process that has many files open, and while nobody reads it."""

from __future__ import annotations

import fcntl
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.console.stream import SocketStream, readable


@pytest.fixture
def high() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A socket pair, one end of which has a descriptor that ``select.select`` refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2048
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this system allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    near, far = socket.socketpair()
    with near, far, socket.socket(fileno=fcntl.fcntl(near.fileno(), fcntl.F_DUPFD, 1500)) as end:
        yield end, far
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_stream_is_read_whatever_the_number_of_its_descriptor(
    high: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    end, far = high
    assert end.fileno() >= 1500
    stream = SocketStream(end, tmp_path / "console.log")
    assert stream.read(0) is None
    far.sendall(b"login: ")
    assert stream.read(5) == b"login: "
    far.shutdown(socket.SHUT_WR)
    stream.close()


def test_an_end_is_something_to_read() -> None:
    near, far = socket.socketpair()
    with near:
        far.close()
        assert readable([near.fileno()], 0) == [near.fileno()]


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[tuple[SocketStream, socket.socket]]:
    ours, theirs = socket.socketpair()
    stream = SocketStream(ours, tmp_path / "log")
    stream.read_when_idle()
    with theirs:
        yield stream, theirs
        stream.close()


def read_all(stream: SocketStream) -> bytes:
    found = b""
    while data := stream.read(20):
        found += data
    return found


def test_who_writes_a_flood_does_not_wait_for_a_reader(
    ends: tuple[SocketStream, socket.socket], tmp_path: Path
) -> None:
    stream, theirs = ends
    flood = b"".join(b"%07d\n" % number for number in range(500_000))
    writer = threading.Thread(target=theirs.sendall, args=(flood,))
    writer.start()
    writer.join(60)
    assert not writer.is_alive()
    theirs.shutdown(socket.SHUT_WR)
    note, _, kept = read_all(stream).removeprefix(b"\n").partition(b"\n")
    assert flood.endswith(kept)
    assert len(kept) > 900_000
    assert note == b"[... %d bytes that came while nobody read were not kept ...]" % (len(flood) - len(kept))
    assert (tmp_path / "log").read_bytes() == flood


def test_what_came_while_nobody_read_comes_first_and_once(ends: tuple[SocketStream, socket.socket]) -> None:
    stream, theirs = ends
    sent = read = b""
    for number in range(200):
        line = b"%d\n" * 3 % (number, number, number)
        theirs.sendall(line)
        sent += line
        if number % 7 == 0:
            read += stream.read(20) or b""
    theirs.shutdown(socket.SHUT_WR)
    assert read + read_all(stream) == sent


def test_a_stream_ends_with_its_thread(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    stream = SocketStream(ours, tmp_path / "log")
    stream.read_when_idle()
    with theirs:
        stream.close()
        assert theirs.recv(1) == b""
    assert not any(thread.name == "labkit-idle" and thread.is_alive() for thread in threading.enumerate())
