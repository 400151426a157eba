"""Byte streams to a guest's terminal and to QEMU, whose socket pairs leave no path behind."""

from __future__ import annotations

import contextlib
import math
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

LOG_LIMIT = 16 << 20
"""Bytes of a guest's output that are kept in a log file; a flood beyond it is counted, not kept."""

_IDLE_LIMIT = 1 << 20
"""Bytes that are kept for the next reader, who is told how many came before them."""
_LONG = 3600.0
_PAUSE = 0.2
"""Seconds without a reader, after which what arrives is taken in his place."""


def readable(descriptors: Iterable[int], timeout: float) -> list[int]:
    """Those of ``descriptors`` that have something to read, or an end, within ``timeout`` seconds.

    ``select.select`` refuses descriptors above 1023, which a process with many notebooks or guests has.
    """
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poller.poll(math.ceil(max(0.0, timeout) * 1000))]


class Stream(Protocol):
    """A bidirectional byte stream to a terminal in the guest."""

    def read(self, timeout: float) -> bytes | None:
        """Return what has arrived, ``b""`` at the end of the stream, ``None`` after ``timeout`` seconds."""

    def write(self, data: bytes) -> None:
        """Send all of ``data``; raises OSError when the other end is gone."""


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
        self._waiting: deque[bytes] = deque()
        self._kept = self._dropped = 0
        # Held by whoever reads. Beside it, whether somebody does, for the thread that reads when nobody does.
        self._turn = threading.Lock()
        self._busy = threading.Event()
        self._rest = threading.Event()
        self._idler: threading.Thread | None = None
        self._closed = False

    def read(self, timeout: float) -> bytes | None:
        """Return what has arrived, ``b""`` at the end of the stream, ``None`` after ``timeout`` seconds."""
        self._rest.clear()
        self._busy.set()
        try:
            with self._turn:
                return self._take() or self._receive(timeout)
        finally:
            self._busy.clear()
            self._rest.set()

    def read_when_idle(self) -> None:
        """From now on keep, in bounds, what arrives while nobody reads: who writes does not wait."""
        if self._idler is None:
            self._idler = threading.Thread(target=self._idle, name="labkit-idle", daemon=True)
            self._rest.set()
            self._idler.start()

    def fileno(self) -> int:
        """The descriptor, to wait for it beside others."""
        return self._socket.fileno()

    def pump(self) -> bool:
        """Keep for the next ``read`` what has arrived, so that who writes can go on; False at the end."""
        with self._turn:
            return self._keep() != b""

    def drain(self, timeout: float) -> None:
        """Read until the end of the stream, ``timeout`` seconds at most; all of it goes to the log alone."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0 and self.read(left) != b"":
            pass

    def write(self, data: bytes) -> None:
        """Send all of ``data``."""
        self._socket.sendall(data)

    def close(self) -> None:
        """Close this end and the log."""
        self._closed = True
        if self._idler is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._rest.set()
            self._busy.set()
            self._idler.join()
        self._socket.close()
        self._log.close()

    def _idle(self) -> None:
        """Wait until something arrives; where nobody takes it, keep it."""
        while not self._closed:
            self._rest.wait()
            # Between two reads of one command nobody needs this.
            if self._busy.wait(_PAUSE):
                continue
            while not self._busy.is_set():
                if not readable([self._socket.fileno()], _LONG):
                    continue
                if self._busy.is_set() or not self._turn.acquire(blocking=False):
                    break
                try:
                    if self._keep() == b"":
                        return
                finally:
                    self._turn.release()

    def _take(self) -> bytes:
        """What is kept, behind a word about what is not."""
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._kept = 0
        if self._dropped:
            data = b"\n[... %d bytes that came while nobody read were not kept ...]\n" % self._dropped + data
            self._dropped = 0
        return data

    def _keep(self) -> bytes | None:
        """Take what has arrived; of too much, the end: the shell's own words are there."""
        data = self._receive(0)
        if data:
            self._waiting.append(data)
            self._kept += len(data)
            while self._kept > _IDLE_LIMIT:
                first = self._waiting.popleft()
                self._kept -= len(first)
                self._dropped += len(first)
        return data

    def _receive(self, timeout: float) -> bytes | None:
        if not readable([self._socket.fileno()], timeout):
            return None
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionResetError:
            return b""
        self._log.write(data)
        return data
