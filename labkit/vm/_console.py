"""A framed shell over a byte stream: every command gets exactly one answer, whatever it prints.

A command travels as one line, ``eval $'...'``, in which everything but printable ASCII is an octal
escape, so that neither the terminal nor the shell's parser can trip over it; its standard input is
``/dev/null``, so that it cannot eat what follows. The next line prints the end frame: a record
separator, a fresh nonce, the exit status, a record separator. That line stays in the terminal's
queue until the command has ended, so the nonce is nowhere in the guest while the command runs, and
a syntax error, which makes a shell drop the rest of its line, cannot drop it. Prompts are never
parsed. Works with busybox ``sh`` on Linux and, by its documented limits, on Asterinas.
"""

from __future__ import annotations

import re
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from labkit.errors import CommandTimeout, GuestGone, UsageError
from labkit.show import clean

# A canonical-mode terminal cuts lines at 4095 bytes (Linux N_TTY; the same on Asterinas).
_LINE = 3900
_SEPARATOR = b"\x1e"
_FRAME_BYTES = 64
_GRACE = 2.0
_POLL = 0.2
"""Seconds after which an unanswered Ctrl-C is sent again."""


class Stream(Protocol):
    """A bidirectional byte stream to a terminal in the guest."""

    def read(self, timeout: float) -> bytes | None:
        """Return what has arrived, ``b""`` at the end of the stream, ``None`` after ``timeout`` seconds."""

    def write(self, data: bytes) -> None:
        """Send all of ``data``; raises OSError when the other end is gone."""


@dataclass(frozen=True)
class CommandResult:
    """What one command did.

    raw: output bytes, the middle left out where there were more than the console's limit.
    dropped: how many bytes were left out.
    shell_ended: the command ended the shell (``exit``, ``exec``, ``set -e``), and a new one answers.
    """

    command: str
    exit_status: int
    raw: bytes
    seconds: float
    dropped: int = 0
    shell_ended: bool = False

    @property
    def output(self) -> str:
        """The output as text that is safe to show: decoded, without control sequences, bounded."""
        return clean(self.raw.decode("utf-8", "replace"))

    def __repr__(self) -> str:
        return f"CommandResult(exit_status={self.exit_status}, output={self.output[:60]!r})"

    def __str__(self) -> str:
        return self.output.rstrip("\n")

    def to_dict(self) -> dict[str, Any]:
        """The command as the contract's JSON shows it."""
        return {
            "command": self.command,
            "exit_status": self.exit_status,
            "stdout": self.output,
            "seconds": round(self.seconds, 4),
        }


class Console:
    """Runs commands in the guest's shell, one at a time."""

    def __init__(self, stream: Stream, output_limit: int = 1 << 20) -> None:
        """Speak over ``stream``; keep at most ``output_limit`` bytes of a command's output."""
        self._stream = stream
        self._limit = output_limit
        self._pending = b""
        self._status = 0
        self._nonce = b""
        self._interrupted_at: float | None = None
        self._old_nonces: deque[bytes] = deque(maxlen=64)

    def handshake(self, timeout: float) -> None:
        """Find the shell: ask until it answers, since what is typed before it listens is lost.

        Raises:
            CommandTimeout: no answer within ``timeout`` seconds.
            GuestGone: the stream ended.
        """
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            # The empty line ends whatever half of an earlier question may have arrived.
            nonce = self._send_line(b"\n")
            if self._collect(nonce, min(left, 0.5), _Output(self._limit)) is not None:
                return
        raise CommandTimeout(
            f"The guest's shell did not answer within {timeout:g} s.",
            "Look at console.log in the run directory for what the guest was doing.",
        )

    def run(
        self,
        command: str,
        timeout: float | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> CommandResult:
        """Run one command (any text but NUL, any number of lines) and wait for its end.

        ``on_output`` receives raw output as it arrives. A command that is still running after
        ``timeout`` seconds is interrupted.

        Raises:
            CommandTimeout: the time ran out.
            GuestGone: the guest ended; what it had printed is in the message.
            UsageError: the command holds a NUL, which no shell can take.
        """
        if "\0" in command:
            raise UsageError("The command holds a NUL character.", "Remove it; a shell cannot take one.")
        output = _Output(self._limit, on_output)
        started = time.monotonic()
        try:
            line = self._upload(_quote(command), timeout)
            nonce = self._send_line(line)
            frame = self._collect(nonce, timeout, output)
        except OSError as error:
            raise _gone(output) from error
        seconds = time.monotonic() - started
        if frame is None:
            self.interrupt()
            self._collect(nonce, _GRACE, output)
            raise CommandTimeout(
                f"The command {_short(command)!r} did not end within {timeout:g} s.",
                "Give it more time, or see whether it waits for input.",
            )
        ended, status = frame
        self._status = status
        return CommandResult(command, status, output.kept(), seconds, output.dropped, ended)

    def interrupt(self) -> None:
        """Send Ctrl-C to the running command; may be called from another thread.

        The question for the end frame is asked again, since Ctrl-C empties the queue of a terminal
        that lacks ``noflsh``; the second answer, where there are two, is recognized and removed.
        Both are repeated until the command ends: a Ctrl-C that meets the shell just when it starts a
        program reaches neither.

        Raises:
            GuestGone: the guest ended.
        """
        try:
            self._interrupted_at = time.monotonic()
            self._stream.write(b"\x03")
            self._send_frame(self._nonce)
        except OSError as error:
            raise GuestGone("The guest is gone.", "Boot it again.") from error

    def _upload(self, quoted: list[bytes], timeout: float | None) -> bytes:
        """Return the line that runs the quoted command; a long one is stored in the guest first, in parts."""
        status = b"(exit %d);" % self._status if self._status else b""
        parts = _lines(quoted)
        if len(parts) == 1:
            return status + b"command eval $'" + parts[0] + b"' </dev/null\n"
        for number, part in enumerate(parts):
            so_far = b"$__labkit_cell" if number else b""
            nonce = self._send_line(b"__labkit_cell=" + so_far + b"$'" + part + b"'\n")
            if self._collect(nonce, timeout, _Output(self._limit)) is None:
                raise CommandTimeout("The guest's shell did not take the command.", "Boot it again.")
        return status + b'command eval "unset __labkit_cell;$__labkit_cell" </dev/null\n'

    def _send_line(self, line: bytes) -> bytes:
        self._nonce = secrets.token_hex(8).encode()
        self._interrupted_at = None
        self._stream.write(line)
        self._send_frame(self._nonce)
        return self._nonce

    def _send_frame(self, nonce: bytes) -> None:
        status = b'"${LABKIT_ENDED:+e}${LABKIT_ENDED:-$?}"'
        self._stream.write(
            b"command printf '\\036%s:%s\\036' " + nonce + b" " + status + b";unset LABKIT_ENDED\n"
        )

    def _collect(self, nonce: bytes, timeout: float | None, output: _Output) -> tuple[bool, int] | None:
        """Read until the frame with ``nonce``: whether the shell ended, and the status; None in time-out."""
        deadline = None if timeout is None else time.monotonic() + timeout
        frame = re.compile(re.escape(_SEPARATOR + nonce) + rb":(e?)(\d{1,3})" + _SEPARATOR)
        while True:
            if match := frame.search(self._pending):
                output.add(self._without_old_frames(self._pending[: match.start()]))
                self._pending = self._pending[match.end() :]
                self._old_nonces.append(nonce)
                return bool(match[1]), int(match[2])
            self._release(output)
            left = _POLL if deadline is None else deadline - time.monotonic()
            if left <= 0:
                self._old_nonces.append(nonce)
                return None
            data = self._stream.read(min(left, _POLL))
            if self._interrupted_at is not None and time.monotonic() > self._interrupted_at + _POLL:
                self.interrupt()
            if data == b"":
                output.add(self._pending)
                self._pending = b""
                raise _gone(output)
            self._pending += data or b""

    def _release(self, output: _Output) -> None:
        """Pass on what cannot be the beginning of a frame."""
        cut = self._pending.find(_SEPARATOR, max(0, len(self._pending) - _FRAME_BYTES))
        cut = len(self._pending) if cut < 0 else cut
        output.add(self._without_old_frames(self._pending[:cut]))
        self._pending = self._pending[cut:]

    def _without_old_frames(self, data: bytes) -> bytes:
        """Remove late answers to questions asked twice; all other output passes untouched."""
        if _SEPARATOR not in data:
            return data
        for nonce in self._old_nonces:
            data = re.sub(re.escape(_SEPARATOR + nonce) + rb":e?\d{1,3}" + _SEPARATOR, b"", data)
        return data


class _Output:
    """The head and the tail of what a command prints, within a limit."""

    def __init__(self, limit: int, listener: Callable[[bytes], None] | None = None) -> None:
        self._half = max(1, limit // 2)
        self._listener = listener
        self._head = bytearray()
        self._tail = bytearray()
        self.dropped = 0

    def add(self, data: bytes) -> None:
        if not data:
            return
        if self._listener is not None:
            self._listener(data)
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        # Trim only when the tail has doubled, so that a flood costs linear time.
        if len(self._tail) > 2 * self._half:
            self._trim()

    def _trim(self) -> None:
        excess = len(self._tail) - self._half
        if excess > 0:
            self.dropped += excess
            del self._tail[:excess]

    def kept(self) -> bytes:
        self._trim()
        gap = b"\n[... %d bytes not shown ...]\n" % self.dropped if self.dropped else b""
        return bytes(self._head) + gap + bytes(self._tail)


def _quote(command: str) -> list[bytes]:
    """The command in the ``$'...'`` notation, one element a byte, so that it can be cut between any two."""
    return [_BYTES[byte] for byte in command.encode("utf-8", "surrogateescape")]


def _quoted_byte(byte: int) -> bytes:
    if byte in b"'\\":
        return b"\\" + bytes([byte])
    return bytes([byte]) if 0x20 <= byte < 0x7F else b"\\%03o" % byte


_BYTES = [_quoted_byte(byte) for byte in range(256)]


def _lines(quoted: list[bytes]) -> list[bytes]:
    lines = [bytearray()]
    for byte in quoted:
        if len(lines[-1]) + len(byte) > _LINE:
            lines.append(bytearray())
        lines[-1] += byte
    return [bytes(line) for line in lines]


def _gone(output: _Output) -> GuestGone:
    last = clean(output.kept().decode("utf-8", "replace")).strip()
    said = f" It had printed: {last[-200:]!r}." if last else ""
    return GuestGone(f"The guest ended while a command was running.{said}", "Boot it again.")


def _short(command: str) -> str:
    return command if len(command) <= 60 else command[:57] + "..."
