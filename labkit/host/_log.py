"""Kernel logs as they come: every wrapping taken off, only the lines of interest kept, in bounded memory."""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from labkit.host._formats import as_lines
from labkit.host._message import Role
from labkit.host._messages import classify
from labkit.host._model import KernelLog, LogLine, LogState
from labkit.host._wrapping import Unwrapped, unwrap
from labkit.show import clean

MAX_LINE = 4096  # bytes of a line that are looked at; no message of interest is longer
MAX_BYTES = 1 << 28  # bytes of a log that are looked at
MAX_REPEATS = 12  # different lines kept of one kind of message

MAX_EXAMINED = 20_000  # lines of interest of one boot that are looked at; after them only decisive ones
_CHUNK = 1 << 20

# A line without one of these is never decoded: the rest of a long log costs a few searches.
_WORDS = (
    b"tdx",
    b"seam",
    b"x86/",
    b"kvm",
    b"linux version ",
    b"ommand line: ",
    b"smpboot: cpu0",
    b"tdh",
    b"kernel panic",
    b"-- boot",
    b"-- reboot",
)
_DECISIVE = (b"odule initialized", b"linux version ", b"-- boot", b"-- reboot")
_CONTENT = re.compile(rb"^[ \t\r]*[^#\s][^\n]*", re.MULTILINE)

# Colours whose escape character was lost in a paste, or written out by a log daemon.
_LOST_COLOR = re.compile(r"(?:\^\[|\\e|\\033|\\x1b|#033|␛)\[[\d;]{0,16}m|\[\d{1,3}(?:;\d{1,3}){0,4}m")
_TELLING = re.compile(r"(?:virt/tdx|(?<![\w/])tdx|seam|SEAM|kvm_intel): ")
_INITIALISATION = (Role.START, Role.PROGRESS, Role.SUCCESS, Role.FAILURE)
_MAX_UNREAD = 3


class _Boot:
    """What is kept of one boot."""

    def __init__(self) -> None:
        self.lines: dict[str, LogLine] = {}
        self.kinds: dict[str, int] = {}
        self.first_seconds: float | None = None
        self.from_boot = False
        self.unread: dict[str, LogLine] = {}

    def time(self, seconds: float | None) -> None:
        if seconds is not None and self.first_seconds is None:
            self.first_seconds = seconds
            self.from_boot = self.from_boot or seconds == 0.0

    def add(self, kind: str, message: str, seconds: float | None) -> None:
        known = self.lines.get(message)
        if known:
            self.lines[message] = LogLine(message, known.seconds, known.count + 1)
        elif self.kinds.get(kind, 0) < MAX_REPEATS:
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
            self.lines[message] = LogLine(message, seconds)

    def set_aside(self, message: str) -> None:
        """Keep a line whose words are the kernel's, in a wrapping that is not understood."""
        known = self.unread.get(message)
        if known or len(self.unread) < _MAX_UNREAD:
            self.unread[message] = LogLine(message, count=known.count + 1 if known else 1)


def read_log(stream: IO[bytes], source: str) -> KernelLog:
    """Read a kernel log of any size and wrapping; time grows with its length, memory does not.

    Lines that begin with ``#`` are comments. In a log of several boots only the last one counts: a
    success line of an earlier boot proves nothing.
    """
    reader = _Reader(as_lines(stream))
    boot, boots, seen_linux = _Boot(), 1, False
    for raw in reader.lines():
        line = _decoded(raw)
        if line.startswith("#"):
            continue
        if line.startswith(("-- Boot ", "-- Reboot --")):
            if boot.lines or boot.first_seconds is not None:
                boot, boots, seen_linux = _Boot(), boots + 1, False
                reader.examined = 0
            continue
        entry = unwrap(line)
        found = classify(entry.message)
        if found and found[0].id == "linux":
            # A ring buffer holds one boot; a syslog file goes on over a reboot.
            if seen_linux or (entry.wrapped and boot.lines):
                boot, boots = _Boot(), boots + 1
                reader.examined = 0
            seen_linux = True
            boot.from_boot = True
        boot.time(entry.seconds)
        if found:
            boot.add(found[0].id, entry.message, entry.seconds)
        elif _sounds_like_tdx(entry):
            boot.set_aside(entry.message)
    return KernelLog(
        LogState.READ if reader.content else LogState.EMPTY,
        source,
        tuple(boot.lines.values()),
        total_lines=reader.total if reader.content else 0,
        first_seconds=boot.first_seconds,
        from_boot=boot.from_boot,
        boots=boots,
        unread=tuple(boot.unread.values()),
    )


def _sounds_like_tdx(entry: Unwrapped) -> bool:
    """The words of the initialisation stand in a line, behind something that is not understood."""
    if entry.known:
        return False
    for place in _TELLING.finditer(entry.message):
        found = classify(entry.message[place.start() :].rstrip("\"'` "))
        if found and found[0].role in _INITIALISATION and found[0].id != "core-other":
            return True
    return False


def _decoded(raw: bytes) -> str:
    line = raw.decode("utf-8", "replace").replace("\r", "").replace("\ufeff", "")
    line = line if line.isprintable() else clean(line)
    return _LOST_COLOR.sub("", line) if "m" in line and "[" in line else line


def read_log_text(text: str, source: str) -> KernelLog:
    """Read a kernel log that is in memory already."""
    return read_log(io.BytesIO(text.encode("utf-8", "surrogateescape")), source)


def read_log_file(path: Path, source: str) -> KernelLog:
    """Read a log file, compressed by gzip or not.

    Raises:
        OSError: the file cannot be opened or read.
    """
    if path.is_fifo() and not path.is_relative_to("/dev"):
        # Opening it would wait for a writer.
        raise OSError(errno.EINVAL, "it is a named pipe, no file")
    with path.open("rb") as stream:
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            stream.seek(-MAX_BYTES, os.SEEK_END)  # the last boot stands at the end
        if stream.peek(2)[:2] == b"\x1f\x8b":
            import gzip  # costs more than reading a usual log

            try:
                with gzip.open(stream) as unpacked:
                    return read_log(unpacked, source)  # type: ignore[arg-type]
            except (EOFError, gzip.BadGzipFile) as error:
                return KernelLog(LogState.UNREADABLE, source, why=f"not a whole gzip file: {error}")
        return read_log(stream, source)


class _Reader:
    """Picks the lines of interest out of a stream, block by block.

    content: some line is neither blank nor a comment.
    total: lines that are not comments.
    examined: lines of interest handed out since the caller set it to 0.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.content = False
        self.total = 0
        self.examined = 0

    def lines(self) -> Iterator[bytes]:
        """Lines worth a closer look; the first line always, for its time stamp; none longer than MAX_LINE."""
        for block in self._blocks():
            comments = block.count(b"\n#") + block.startswith(b"#")
            self.total += block.count(b"\n") + (not block.endswith(b"\n") and bool(block)) - comments
            first = None if self.content else _CONTENT.search(block)
            if first:
                self.content = True
                yield first[0][:MAX_LINE]
            yield from self._pick(block, first.end() if first else 0)

    def _blocks(self) -> Iterator[bytes]:
        """Whole lines in pieces of about a chunk; what is left of an overlong line is dropped."""
        rest, size, dropping = b"", 0, False
        while True:
            chunk = self._stream.read(_CHUNK)
            size += len(chunk)
            last = not chunk or size >= MAX_BYTES
            if dropping:
                _, newline, chunk = chunk.partition(b"\n")
                dropping = not newline
            block, rest = rest + chunk, b""
            if not last:
                block, newline, rest = block.rpartition(b"\n")
                block += newline
                if len(rest) > MAX_LINE:
                    block, rest, dropping = block + rest[:MAX_LINE] + b"\n", b"", True
            yield block
            if last:
                return

    def _pick(self, block: bytes, position: int) -> Iterator[bytes]:
        lower = block.lower()
        # The next hit of every word; each is searched again only when it has been passed.
        hits = {word: lower.find(word, position) for word in _WORDS}
        while hits := {word: hit for word, hit in hits.items() if hit >= 0}:
            hit = min(hits.values())
            start, end = block.rfind(b"\n", 0, hit) + 1, _line_end(block, hit)
            self.examined += 1
            yield block[start : min(end, start + MAX_LINE)]
            if self.examined >= MAX_EXAMINED:
                hits = {word: hits.get(word, end) for word in _DECISIVE}
            for word, place in hits.items():
                if place <= end:
                    hits[word] = lower.find(word, end)


def _line_end(block: bytes, start: int) -> int:
    end = block.find(b"\n", start)
    return len(block) if end < 0 else end
