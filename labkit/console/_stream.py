"""Byte streams to QEMU's character devices: socket pairs, so that no path is ever left behind."""

from __future__ import annotations

import select
import socket
from pathlib import Path

LOG_LIMIT = 16 << 20
"""Bytes of a guest's output that are kept in a log file; a flood beyond it is counted, not kept."""


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
    """One end of a socket pair whose other end is a serial port; what arrives is logged."""

    def __init__(self, end: socket.socket, log: Path) -> None:
        """Take over ``end``; keep what arrives in the file ``log``."""
        self._socket = end
        self._log = BoundedLog(log)

    def read(self, timeout: float) -> bytes | None:
        """Return what has arrived, ``b""`` at the end of the stream, ``None`` after ``timeout`` seconds."""
        ready, _, _ = select.select([self._socket], [], [], timeout)
        if not ready:
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
