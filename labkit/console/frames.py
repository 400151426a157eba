"""What a framed shell says between its output: records in the byte stream, told from text without trust.

A record begins with RS (0x1e) and ends with US (0x1f):

    RS > number : end : reply : ended US     the shell reads its next line (its prompt)
    RS < the same US                    the same, printed: the prompt could not be had
    RS x status US                      a shell that nothing follows ends with this status
    RS . US                             a command that may have changed the prompt has ended
    RS ? s : prompt US                  a command in the guest asks for one line (s: without echo)
    RS = type ; base64 US               a command in the guest shows a picture or a table

Everything else, and every record that is not well formed, is text and passes untouched. Any program in
the guest can print any of these; only the nonce, which does not exist before the command has ended, is
taken as an end. ``end`` is ``number:status``, ``reply`` is ``status:flags:nonce``; both may be empty.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

_START = b"\x1e"
_EDGE = re.compile(rb"[\x1e\x1f]")

# How long an unfinished record of each kind may keep the output behind it waiting.
_LIMITS = {b">": 120, b"<": 120, b"x": 6, b".": 4, b"?": 2000, b"=": 12 << 20}


@dataclass(frozen=True)
class Text:
    """Output."""

    data: bytes


@dataclass(frozen=True)
class Ready:
    """The shell reads its next line.

    number: of the last line. end: the number of the last command whose text came to its end, and its status
    there. status, flags, nonce: the reply to the last question, what ``$?`` and ``$-`` were then.
    ended: the shell is a new one, and the old one ended with this status.
    printed: said by a command, not by the prompt. bash: what kind of shell it is, before any command.
    """

    number: int | None
    end: tuple[int, int] | None = None
    status: int | None = None
    flags: str = ""
    nonce: bytes = b""
    ended: int | None = None
    printed: bool = False
    bash: bool = False


@dataclass(frozen=True)
class Exit:
    """A shell that nothing follows ends."""

    status: int


@dataclass(frozen=True)
class End:
    """A command that may have changed the prompt has ended; what follows is the prompt."""


@dataclass(frozen=True)
class Ask:
    """A command asks for one line."""

    prompt: str
    hidden: bool


@dataclass(frozen=True)
class Display:
    """A command shows something that is not text."""

    mime: str
    data: bytes


Frame = Text | Ready | Exit | End | Ask | Display

_READY = re.compile(
    rb"([<>])(\d{0,9}):(?:(\d{1,9}):(\d{0,3}))?:(?:(\d{1,3}):(\w*):([0-9A-Za-z]{10}))?:(\d{0,3})"
)
_EXIT = re.compile(rb"x(\d{1,3})")
_ASK = re.compile(rb"\?(s?):(.*)", re.DOTALL)
_DISPLAY = re.compile(rb"=([a-z]+/[a-z0-9.+-]+);([A-Za-z0-9+/=\s]*)")


class Reader:
    """Splits a byte stream, fed in pieces of any size, into output and records."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._seen = 1

    def feed(self, data: bytes) -> list[Frame]:
        """Take more bytes; what may yet become a record is held back."""
        self._buffer += data
        events: list[Frame] = []
        while self._buffer:
            begin = self._buffer.find(_START)
            if begin != 0:
                events.append(Text(self._take(begin if begin > 0 else len(self._buffer))))
                continue
            edge = _EDGE.search(self._buffer, self._seen)
            limit = _LIMITS.get(bytes(self._buffer[1:2]), 1)
            if edge is None:
                if len(self._buffer) > limit:
                    events.append(Text(self._take(len(self._buffer))))
                self._seen = max(1, len(self._buffer))
                break
            if edge[0] == _START:
                events.append(Text(self._take(edge.start())))
            else:
                record = self._take(edge.end())
                whole = _record(record[1:-1]) if len(record) <= limit else None
                events.append(whole or Text(record))
        return events

    def rest(self) -> bytes:
        """What was held back; the stream has ended."""
        return self._take(len(self._buffer))

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        self._seen = 1
        return taken


def _record(body: bytes) -> Frame | None:
    if match := _READY.fullmatch(body):
        return _ready(match)
    if match := _EXIT.fullmatch(body):
        return Exit(int(match[1]))
    if body == b".":
        return End()
    if match := _ASK.fullmatch(body):
        return Ask(match[2].decode("utf-8", "replace"), match[1] == b"s")
    if match := _DISPLAY.fullmatch(body):
        try:
            return Display(match[1].decode(), base64.b64decode(match[2]))
        except binascii.Error:
            return None
    return None


def _ready(match: re.Match[bytes]) -> Ready:
    number = int(match[2]) if match[2] else None
    # Before any command the first proof says what kind of shell this is.
    start = match[3] == b"0"
    return Ready(
        number,
        end=(int(match[3]), int(match[4])) if match[4] and not start else None,
        status=int(match[5]) if match[5] else None,
        flags=(match[6] or b"").decode(),
        nonce=match[7] or b"",
        ended=int(match[8]) if match[8] else None,
        printed=match[1] == b"<",
        bash=start and bool(match[4]),
    )


def ansi_c_quote(*texts: str | bytes) -> list[bytes]:
    """Texts in the ``$'...'`` notation, one element a byte, so that they can be cut between any two."""
    return [
        _BYTES[byte]
        for text in texts
        for byte in (text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
    ]


def shell_quote(text: str) -> str:
    """Text as one word for the guest's shell, whatever it holds."""
    return "$'" + b"".join(ansi_c_quote(text)).decode() + "'"


def lines(parts: list[bytes], length: int) -> list[bytes]:
    """The quoted bytes in lines of at most ``length`` bytes; at least one line."""
    found = [bytearray()]
    for byte in parts:
        if len(found[-1]) + len(byte) > length:
            found.append(bytearray())
        found[-1] += byte
    return [bytes(line) for line in found]


def _quoted_byte(byte: int) -> bytes:
    if byte in b"'\\":
        return b"\\" + bytes([byte])
    if byte == 0x0A:
        return b"\\n"
    return bytes([byte]) if 0x20 <= byte < 0x7F else b"\\%03o" % byte


_BYTES = [_quoted_byte(byte) for byte in range(256)]
