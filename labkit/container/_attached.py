"""The terminal of a container as a byte stream for the framed console, and log files read as they grow."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable
from pathlib import Path

_CHUNK = 1 << 16
_INTERRUPT = b"\x03"


class AttachedStream:
    """The attached terminal; whoever reads, every byte also goes to ``heard``."""

    def __init__(
        self, end: socket.socket, heard: Callable[[bytes], None], *, interruptible: bool = True
    ) -> None:
        """Take over ``end``. Not ``interruptible``: a Ctrl-C would kill QEMU, so it is not sent."""
        self._socket = end
        self._heard = heard
        self._interruptible = interruptible

    def read(self, timeout: float) -> bytes | None:
        """Return what has arrived, ``b""`` at the end of the stream, ``None`` after ``timeout`` seconds."""
        ready, _, _ = select.select([self._socket], [], [], max(0.0, timeout))
        if not ready:
            return None
        try:
            data = self._socket.recv(_CHUNK)
        except (ConnectionResetError, BrokenPipeError):
            return b""
        if data:
            self._heard(data)
        return data

    def write(self, data: bytes) -> None:
        """Send all of ``data``."""
        if not self._interruptible:
            data = data.replace(_INTERRUPT, b"")
        self._socket.sendall(data)

    def close(self) -> None:
        """Close the connection; the container goes on."""
        self._socket.close()


class LogTail:
    """A log file that a run writes: what is new in it. What an earlier run left is not new."""

    def __init__(self, path: Path) -> None:
        """Remember what is there."""
        self._path = path
        self._offset = 0
        self._old = _identity(path)

    def new(self) -> bytes:
        """What has been written since the last call; at most 1 MiB at once."""
        if self._old is not None:
            if _identity(self._path) == self._old:
                return b""
            self._old = None
        with contextlib.suppress(OSError), self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read(1 << 20)
            self._offset += len(data)
            return data
        return b""


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
