"""The QEMU Machine Protocol: JSON lines over a socket (QEMU ``docs/interop/qmp-spec.rst``)."""

from __future__ import annotations

import json
import socket
import time
from collections import deque
from typing import Any

from labkit.console.stream import SocketStream, readable
from labkit.errors import VmError

_ANSWER = 30.0
"""Seconds that QEMU may take to answer."""

_GONE = VmError("QEMU closed its control connection.", "Look at qemu.log in the run directory.")


class Qmp:
    """A client for one QEMU; commands are answered in order."""

    def __init__(self, end: socket.socket, beside: SocketStream | None = None) -> None:
        """Speak over ``end``.

        beside: a port of the guest that is read meanwhile, since QEMU may be waiting for that.
        """
        self._socket = end
        self._beside = beside
        self._buffer = b""
        self._events: deque[dict[str, Any]] = deque(maxlen=256)
        self.version = (0, 0)

    def greet(self) -> None:
        """Take QEMU's greeting and enter command mode.

        Raises:
            VmError: QEMU is gone, or did not answer in time.
        """
        greeting = self._message(time.monotonic() + _ANSWER)
        version = greeting["QMP"]["version"]["qemu"]
        self.version = (version["major"], version["minor"])
        self.execute("qmp_capabilities")

    def execute(self, command: str, arguments: dict[str, Any] | None = None, fd: int | None = None) -> Any:
        """Run one command, with an open file sent along where ``fd`` is given, and return its answer.

        Raises:
            VmError: QEMU refused, is gone, or did not answer in time.
        """
        # QEMU reads its control connection byte by byte, with six system calls for each: no spaces.
        words = {"execute": command, **({"arguments": arguments} if arguments else {})}
        data = json.dumps(words, separators=(",", ":")).encode() + b"\n"
        try:
            socket.send_fds(self._socket, [data], [fd] if fd is not None else [])
        except OSError as error:
            raise _GONE from error
        deadline = time.monotonic() + _ANSWER
        while True:
            message = self._message(deadline)
            if "event" in message:
                self._events.append(message)
            elif "error" in message:
                raise VmError(f"QEMU refused {command}: {message['error'].get('desc', '?')}.")
            else:
                return message.get("return")

    def wait_event(self, name: str, timeout: float) -> dict[str, Any]:
        """Wait for the next event ``name``, or take one that came while a command was answered.

        Raises:
            VmError: it did not come within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            for event in self._events:
                if event["event"] == name:
                    self._events.remove(event)
                    return event
            message = self._message(deadline)
            if "event" in message:
                self._events.append(message)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise VmError("QEMU did not answer on its control connection.", "Is the machine overloaded?")
            port = self._beside
            ends = [self._socket.fileno(), *([port.fileno()] if port else [])]
            ready = readable(ends, left)
            if port is not None and port.fileno() in ready and not port.pump():
                self._beside = None
            if self._socket.fileno() not in ready:
                continue
            try:
                data = self._socket.recv(1 << 16)
            except OSError as error:
                raise _GONE from error
            if not data:
                raise _GONE
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message = json.loads(line)
        assert isinstance(message, dict)
        return message
