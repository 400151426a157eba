"""The terminal of a container as a byte stream for the framed console, and log files read as they grow."""

from __future__ import annotations

import contextlib
import hashlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from labkit.console.stream import readable

_CHUNK = 1 << 16
_INTERRUPT = b"\x03"
_MOST = 16 << 20


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
        if not readable([self._socket.fileno()], timeout):
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
    """A log file that a run writes: what is new in it. What an earlier or another run writes is not new."""

    def __init__(self, path: Path) -> None:
        """Remember what is there."""
        self.path = path
        self._offset = 0
        self._old = _identity(path)
        self._seen = self._old

    @property
    def fresh(self) -> bool:
        """The file is of this run: it was not there before, or has been written anew since."""
        return self._old is None and self.path.is_file()

    def new(self) -> bytes:
        """What has been written since the last call; at most 1 MiB at once."""
        if self._old is not None and not self._is_new():
            return b""
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read(1 << 20)
            self._offset += len(data)
            return data
        return b""

    def _is_new(self) -> bool:
        """Written anew: another file, a shorter one, or one that begins otherwise; not a longer one."""
        assert self._old is not None
        now = _stat(self.path)
        if now is None or (self._seen is not None and now == self._seen.stat):
            return False
        begins = now[0] == self._old.stat[0] and _digest(self.path, self._old.stat[1]) == self._old.digest
        if begins and now[1] >= self._old.stat[1]:
            self._seen = replace(self._old, stat=now)
            return False
        self._old = None
        return True


@dataclass(frozen=True)
class _Identity:
    """An old log: inode, size and time of change, and the digest of what it held."""

    stat: tuple[int, int, int]
    digest: bytes


def _identity(path: Path) -> _Identity | None:
    stat = _stat(path)
    return None if stat is None else _Identity(stat, _digest(path, stat[1]))


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _digest(path: Path, size: int) -> bytes:
    """Of the first ``size`` bytes, at most 16 MiB: a log begins with what tells its run."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return hashlib.sha256(file.read(min(size, _MOST))).digest()
    return b""
