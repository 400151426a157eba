"""A guest's byte stream in a process that has many files open."""

from __future__ import annotations

import fcntl
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.console import SocketStream
from labkit.console.stream import readable


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
