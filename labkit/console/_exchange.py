"""One line that was sent to a shell, until its end is known; and what of its output shows our own typing."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, field

from labkit.console._command import Listener, Output
from labkit.console._dialect import Dialect
from labkit.console.frames import Ready

FAREWELL = b"exit\n"
"""bash's last word at the end of its input."""
INTERRUPTED = 130
"""The exit status of what Ctrl-C ended."""
_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True)
class CommandEnd:
    """The end of one line. status: its exit status; ended: the shell is a new one; flags: its ``$-``.

    finished: the command's own text proves that it came to its end. printed: no prompt told it.
    """

    status: int
    ended: bool = False
    flags: str = ""
    finished: bool = False
    printed: bool = False


@dataclass
class ShellExchange:
    """One line that was sent, until its end is known.

    started: when. marks: it says where its output ends. seen: how often the number before it was prompted.
    """

    number: int
    output: Output
    listener: Listener
    started: float
    traces: bool = False
    marks: bool = False
    alive: bool = False
    seen: int = 0
    pings: int = 0
    printed: bool = False
    ending: int | None = None
    nonce: bytes = b""
    asked: float = 0.0
    repeats: int = 0
    interrupted: float = 0.0
    ctrl_c: int = 0
    # What came between the shell's end of work and its answer: background output, or an echo of ours.
    late: bytearray = field(default_factory=bytearray)
    # The beginning of a line that may turn out to show what was typed.
    held: bytes = b""
    farewell: bytes = b""
    # Behind the mark that the command has ended comes a prompt of its own, which is not output.
    marked: bool = False

    def end(self, answer: Ready) -> CommandEnd:
        """What an answer under this line's nonce says of its end."""
        if answer.ended is not None:
            return CommandEnd(answer.ended, True, answer.flags)
        if self.ending is not None and answer.number is None:
            return CommandEnd(self.ending, True, answer.flags)
        if answer.end is not None and answer.end[0] == self.number:
            return CommandEnd(answer.end[1], False, answer.flags, finished=True)
        status = INTERRUPTED if answer.status is None else answer.status
        return CommandEnd(status, False, answer.flags, printed=answer.printed)

    def untraced(self, data: bytes, dialect: Dialect) -> bytes:
        """Output without the lines by which a tracing shell shows what was typed."""
        *whole, last = (self.held + data).split(b"\n")
        shown = b"".join(line + b"\n" for line in whole if not dialect.traces(line))
        # Such a line begins like this, and is short.
        keep = last[:1] in (b"{", b"_", b"+", b"\\") and len(last) < 400
        self.held = last if keep else b""
        return shown if keep else shown + last

    def without_farewell(self, data: bytes) -> bytes:
        """Output without the beginning of bash's last word, which is held until something follows it."""
        data = self.farewell + data
        size = next((size for size in range(len(FAREWELL), 0, -1) if data.endswith(FAREWELL[:size])), 0)
        self.farewell = data[len(data) - size :]
        return data[: len(data) - size]

    def without_echo(self, dialect: Dialect) -> bytes:
        """What came behind the end of work, but for the lines that show what was typed."""
        late = b"" if self.marked else bytes(self.late)
        lines = late.splitlines(keepends=True)
        return b"".join(line for line in lines if not dialect.traces(line) and self.nonce not in line)

    @property
    def is_echoed(self) -> bool:
        """The terminal, or the shell's line editor, shows what is typed."""
        shown = self.late.splitlines()
        return any(self.nonce in line and not line.startswith(b"+ ") for line in shown)


def new_nonce() -> bytes:
    """Ten letters and digits, 59 bits."""
    return "".join(secrets.choice(_LETTERS) for _ in range(10)).encode()
