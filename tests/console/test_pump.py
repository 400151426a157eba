"""One end of a port: what is kept for later, the end of the stream, and the log."""

from __future__ import annotations

import socket
from pathlib import Path

from labkit.console.stream import SocketStream


def test_what_was_taken_for_later_is_read_first_and_all_of_it_is_logged(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    stream = SocketStream(ours, tmp_path / "log")
    assert stream.pump()  # nothing is there, and more may come
    assert stream.read(0) is None
    theirs.sendall(b"abc")
    assert stream.pump()
    theirs.sendall(b"def")
    assert stream.pump()
    theirs.sendall(b"ghi")
    assert (stream.read(1), stream.read(1), stream.read(0)) == (b"abcdef", b"ghi", None)
    stream.write(b"to the guest")
    assert theirs.recv(100) == b"to the guest"
    theirs.close()
    assert not stream.pump()
    assert stream.read(1) == b""
    stream.close()
    assert (tmp_path / "log").read_bytes() == b"abcdefghi"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
