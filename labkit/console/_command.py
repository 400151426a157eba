"""What a framed shell takes and gives: who listens to a command, its output within bounds, its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labkit.errors import GuestGone, VmError
from labkit.show import clean

TICK = 0.05
"""Seconds between two ticks of a listener."""


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


@dataclass
class Listener:
    """Who hears what a running command says, and answers what it asks; None stands for nobody.

    output: receives raw output as it arrives. tick: is called every ``TICK`` seconds. ask: gets a prompt
    and whether the answer is to be hidden, and returns a line, or None where nobody can answer.
    display: gets a MIME type and its data; without it such a record is not shown.
    """

    output: Callable[[bytes], None] | None = None
    tick: Callable[[], None] | None = None
    ask: Callable[[str, bool], str | None] | None = None
    display: Callable[[str, bytes], None] | None = None


class Output:
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


def gone(output: Output) -> GuestGone:
    return GuestGone(f"The guest ended while a command was running.{_said(output)}", "Boot it again.")


def dishonest(output: Output) -> GuestGone:
    return GuestGone(
        "The guest's shell gives answers that prove nothing: something has redefined its own commands, or "
        f"taken away what it needs, such as open files or memory.{_said(output)}",
        "Boot it again.",
    )


def silent(why: str, output: Output) -> GuestGone:
    return GuestGone(
        f"The guest's shell {why}: it was stopped, something else in the guest reads its terminal, or this "
        f"machine is too busy to run the guest.{_said(output)}",
        "Boot it again; on a busy machine LABKIT_PATIENCE=3 waits three times as long.",
    )


def _said(output: Output) -> str:
    last = clean(output.kept().decode("utf-8", "replace")).strip()
    return f" It had printed: {last[-200:]!r}." if last else ""


def unknown(command: str, why: str) -> VmError:
    return VmError(
        f"It is not known what became of {short(command)!r}: {why}.",
        "See what it has done, and run it again.",
    )


def short(command: str) -> str:
    return command if len(command) <= 60 else command[:57] + "..."
