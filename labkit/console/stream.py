"""Byte streams to QEMU's character devices: socket pairs, so that no path is ever left behind."""

from __future__ import annotations

import math
import select
import socket
import time
from collections.abc import Iterable
from pathlib import Path

LOG_LIMIT = 16 << 20
"""Bytes of a guest's output that are kept in a log file; a flood beyond it is counted, not kept."""


def readable(descriptors: Iterable[int], timeout: float) -> list[int]:
    """Those of ``descriptors`` that have something to read, or an end, within ``timeout`` seconds.

    ``select.select`` refuses descriptors above 1023, which a process with many notebooks or guests has.
    """
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poller.poll(math.ceil(max(0.0, timeout) * 1000))]


class BoundedLog:
    """A log file for untrusted output: raw bytes, flushed as they come, bounded in size."""

    def __init__(self, path: Path) -> None:
        """Create the file."""
        # What a guest prints may be secret: it is for this user alone.
        path.touch(mode=0o600)
        self._file = path.open("wb", buffering=0)
        self._room = LOG_LIMIT
        self._dropped = 0

    def write(self, data: bytes) -> None:
        """Append what there is room for."""
        self._file.write(data[: self._room])
        self._dropped += max(0, len(data) - self._room)
        self._room = max(0, self._room - len(data))

    def close(self) -> None:
        """Close the file, saying how much it lacks."""
        if self._dropped:
            self._file.write(b"\n[... %d bytes more were not kept ...]\n" % self._dropped)
        self._file.close()


class SocketStream:
    """One end of a socket pair whose other end is a guest's port; what arrives is logged."""

    def __init__(self, end: socket.socket, log: Path) -> None:
        """Take over ``end``; keep what arrives in the file ``log``."""
        self._socket = end
        self._log = BoundedLog(log)
        self._waiting = b""

    def read(self, timeout: float) -> bytes | None:
        """Return what has arrived, ``b""`` at the end of the stream, ``None`` after ``timeout`` seconds."""
        if not self._waiting:
            return self._receive(timeout)
        data, self._waiting = self._waiting, b""
        return data

    def fileno(self) -> int:
        """The descriptor, to wait for it beside others."""
        return self._socket.fileno()

    def pump(self) -> bool:
        """Keep for the next ``read`` what has arrived, so that who writes can go on; False at the end."""
        data = self._receive(0)
        self._waiting += data or b""
        return data != b""

    def drain(self, timeout: float) -> None:
        """Read until the end of the stream, ``timeout`` seconds at most; all of it goes to the log alone."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0 and self.read(left) != b"":
            pass

    def _receive(self, timeout: float) -> bytes | None:
        if not readable([self._socket.fileno()], timeout):
            return None
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionResetError:
            return b""
        self._log.write(data)
        return data

    def write(self, data: bytes) -> None:
        """Send all of ``data``."""
        self._socket.sendall(data)

    def close(self) -> None:
        """Close this end and the log."""
        self._socket.close()
        self._log.close()
