"""Kernel logs as they come: every wrapping taken off, only the lines of interest kept, in bounded memory."""

from __future__ import annotations

import errno
import io
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from labkit.host._encoded import NotALogError
from labkit.host._formats import as_lines
from labkit.host._message import CORE_HEADS, INITIALISATION, Message, Role
from labkit.host._messages import classify
from labkit.host._packed import MAGIC_BYTES, PackedFile, packed
from labkit.host._telling import decisive, sounds_like_tdx
from labkit.host._terminal import seen, tidied
from labkit.host.model import KernelLog, LogLine, LogState
from labkit.host.wrapping import BUILDKIT, Unwrapped, unwrap
from labkit.show import clean

MAX_LINE = 4096  # bytes of a line that are looked at; no message of interest is longer
MAX_BYTES = 1 << 28  # bytes of a log that are looked at
MAX_REPEATS = 12  # different lines kept of one kind of message

MAX_EXAMINED = 20_000  # lines of interest of one boot that are looked at; after them only decisive ones
_CHUNK = 1 << 20
_HEAD = 1024

# A line without one of these is never decoded: the rest of a long log costs a few searches.
_WORDS = (
    b"tdx",
    b"seam",
    b"x86/",
    b"kvm",
    b"linux version ",
    b"ommand line:",
    b"smpboot:",
    b"tdh",
    b"kernel panic",
    b"hypervisor detected",
    b"booting linux on",
    b"sev",
    b"-- boot",
    b"-- reboot",
)
_DECISIVE = (b"odule initialized", b"linux version ", b"-- boot", b"-- reboot")
_CONTENT = re.compile(rb"^[ \t\r]*(?:[^#\s]|#\d)[^\n]*", re.MULTILINE)
# No comment: a line of BuildKit's.
_BUILDKIT = re.compile(BUILDKIT)

# Colours whose escape character was lost in a paste, or written out by a log daemon.
_LOST_COLOR = re.compile(r"(?:\^\[|\\e|\\033|\\x1b|\\u001b|#033|␛)\[[\d;]{0,16}m|\[\d{1,3}(?:;\d{1,3}){0,4}m")
_MAX_UNREAD = 3
_PICTURE = "it is a picture, and what a program reads from one proves nothing; copy the log as text"
_MAX_MACHINES = 1000
_FALLS = 3
_GARBLED = 0.2  # share of characters that are none, in a file that is no text
_SEAMCALLS = ("seamcall", "seamcall-6.5", "failed")
# Names that a machine has before it knows its own.
_NAMELESS = frozenset(
    {"", "-", "(none)", "localhost", "linux", "initrd", "debian", "ubuntu", "fedora", "archlinux", "nixos"}
)


class _Order:
    """Whether the time stamps of different messages only fall: `journalctl -r`, `tac`, an export."""

    def __init__(self) -> None:
        self._last = Unwrapped("")
        self._falls = 0
        self._rises = 0

    def note(self, entry: Unwrapped) -> None:
        last, now = self._last.seconds, entry.seconds
        if now is None or entry.foreign:
            return
        if last is not None and entry.message != self._last.message:
            self._falls += now < last
            self._rises += now > last
        self._last = entry

    @property
    def backwards(self) -> bool:
        return self._falls >= _FALLS and not self._rises


class _Boot:
    """What is kept of one boot."""

    def __init__(self) -> None:
        self.lines: dict[str, LogLine] = {}
        self.kinds: dict[str, int] = {}
        self.first_seconds: float | None = None
        self.from_boot = False
        self.linux = False
        self.past_start = False
        self.outcome: frozenset[str] = frozenset()
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

    def ends_before(self, kind: Message, entry: Unwrapped) -> bool:
        """Whether this line can only be of a later boot.

        A ring buffer holds one boot; a syslog file goes on over a reboot, and `grep tdx` leaves out the line
        with the kernel's version. The kernel says once in a boot that it begins, and never fails after it
        succeeded; a line that is here already is a copy.
        """
        if kind.id == "linux":
            return self.linux or (entry.wrapped and bool(self.lines))
        known = self.lines.get(entry.message)
        if kind.heads != CORE_HEADS or (
            known and entry.seconds is not None and known.seconds == entry.seconds
        ):
            return False
        if kind.role is Role.START:
            return self.past_start
        return kind.role is Role.FAILURE and kind.id not in _SEAMCALLS and "initialized" in self.outcome

    def note(self, kind: Message) -> None:
        """Remember how far the initialisation got."""
        if kind.id == "linux":
            self.linux = self.from_boot = True
        elif kind.heads == CORE_HEADS and kind.role in INITIALISATION:
            self.past_start |= kind.role is not Role.START
            decisive = kind.id if kind.role in (Role.SUCCESS, Role.FAILURE) else "begun"
            self.outcome |= {decisive}

    def set_aside(self, entry: Unwrapped) -> None:
        """Keep a line whose words are the kernel's, in a wrapping that is not understood."""
        message = entry.message
        known = self.unread.get(message)
        if known or len(self.unread) < _MAX_UNREAD:
            self.unread[message] = LogLine(message, count=known.count + 1 if known else 1)


def read_log(stream: IO[bytes], source: str) -> KernelLog:
    """Read a kernel log of any size and wrapping; time grows with its length, memory does not.

    Lines that begin with ``#`` are comments. In a log of several boots only the last one counts: a
    success line of an earlier boot proves nothing.
    """
    try:
        reader = _Reader(as_lines(stream))
    except NotALogError as error:
        return KernelLog(LogState.UNREADABLE, source, why=str(error))
    machines, commented, order = _Machines(), _Boot(), _Order()
    for line in (part for raw in reader.lines() for part in _decoded(raw)):
        if line.startswith("#") and not _BUILDKIT.match(line):
            inner = unwrap(line.lstrip("# "))
            if decisive(inner.message):
                commented.set_aside(inner._replace(message=line))
            continue
        if line.startswith(("-- Boot ", "-- Reboot --")):
            if machines.next_boot():
                reader.examined = 0
            continue
        entry = unwrap(line)
        found = None if entry.foreign else classify(entry.message)
        boot = machines.boot_of(entry)
        if found and boot.ends_before(found[0], entry):
            boot = machines.new_boot()
            reader.examined = 0
        boot.time(entry.seconds)
        if found:
            order.note(entry)
            boot.note(found[0])
            boot.add(found[0].id, entry.message, entry.seconds)
        if sounds_like_tdx(entry, found[0].id if found else ""):
            boot.set_aside(entry)
    log = machines.log(source, reader.total)
    if not reader.content:
        unread = log.unread or tuple(commented.unread.values())
        return KernelLog(LogState.EMPTY, source, unread=unread)
    if order.backwards:
        why = "its newest line comes first; `tac` puts the lines in order"
        return KernelLog(LogState.UNREADABLE, source, why=why)
    return log


class _Machines:
    """The boots of every machine that a log names: a collected log, or ``grep`` over many files."""

    def __init__(self) -> None:
        self._boots: dict[str, _Boot] = {"": _Boot()}
        self._counts: dict[str, int] = {}
        self._current = ""

    def boot_of(self, entry: Unwrapped) -> _Boot:
        """The boot that a line belongs to; one that names no machine goes with the line before it."""
        name = _machine(entry.origin)
        if name and name not in self._boots and len(self._boots) <= _MAX_MACHINES:
            # A machine is nameless until it has read its name.
            nameless = self._boots.pop("", None) if entry.wrapped else None
            self._boots[name] = nameless or _Boot()
            self._counts[name] = self._counts.pop("", 1) if nameless else 1
        self._current = name if name in self._boots else self._current
        return self._boots.setdefault(self._current, _Boot())

    def new_boot(self) -> _Boot:
        """Another boot of the same machine."""
        self._counts[self._current] = self._counts.get(self._current, 1) + 1
        self._boots[self._current] = _Boot()
        return self._boots[self._current]

    def next_boot(self) -> bool:
        """A line of the journal says that a boot begins: whether one was there before."""
        boot = self._boots[self._current]
        seen = bool(boot.lines) or boot.first_seconds is not None
        if seen:
            self.new_boot()
        return seen

    def log(self, source: str, total: int) -> KernelLog:
        """The last boot; where machines tell different things, none of them."""
        telling = {name: boot for name, boot in self._boots.items() if boot.outcome}
        if len({boot.outcome for boot in telling.values()}) > 1:
            names = tuple(name or "no name" for name in telling)
            return KernelLog(
                LogState.UNREADABLE, source, why="it has lines of several machines", machines=names
            )
        name = list(telling)[-1] if telling else self._current
        boot = self._boots[name]
        return KernelLog(
            LogState.READ,
            source,
            tuple(boot.lines.values()),
            total_lines=total,
            first_seconds=boot.first_seconds,
            from_boot=boot.from_boot,
            boots=self._counts.get(name, 1),
            unread=tuple(boot.unread.values()),
        )


def _machine(origin: str) -> str:
    """A machine's name without its domain; empty where it has none yet."""
    short = origin if ":" in origin or "/" in origin or origin[-1:].isdigit() else origin.partition(".")[0]
    return "" if short.lower() in _NAMELESS else short


def _decoded(raw: bytes) -> list[str]:
    """The text of a line; where a console overwrote one stamped line with another, both."""
    parts = [part for part in raw.split(b"\r") if part.strip()]
    if len(parts) < 2 or not all(part.lstrip().startswith(b"[") for part in parts):
        parts = [raw]
    return [_cleaned(part.decode("utf-8", "replace")) for part in parts]


def _cleaned(text: str) -> str:
    line = text.replace("\r", "")
    line = seen(line if line.isprintable() else clean(line))
    return _LOST_COLOR.sub("", line) if "m" in line and "[" in line else line


def read_log_text(text: str, source: str) -> KernelLog:
    """Read a kernel log that is in memory already."""
    return read_log(io.BytesIO(text.encode("utf-8", "surrogateescape")), source)


def read_log_file(path: Path, source: str) -> KernelLog:
    """Read a log file, compressed or not.

    Raises:
        OSError: the file cannot be opened or read.
    """
    if path.is_fifo() and not path.is_relative_to("/dev"):
        # Opening it would wait for a writer.
        raise OSError(errno.EINVAL, "it is a named pipe, no file")
    with path.open("rb") as stream:
        if stream.isatty() and not path.is_relative_to("/dev/fd") and path != Path("/dev/stdin"):
            # Nobody would ever say that it has ended.
            raise OSError(errno.EINVAL, "it is a terminal, no file")
        if kind := packed(stream.peek(MAGIC_BYTES)[:MAGIC_BYTES]):
            return _unpacked(stream, kind, path, source)
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            stream.seek(-MAX_BYTES, os.SEEK_END)  # the last boot stands at the end
        head = stream.peek(_HEAD)[:_HEAD].decode("utf-8", "replace")
        if head.count("\ufffd") > _GARBLED * len(head) and "\0" not in head[:4]:
            return KernelLog(LogState.UNREADABLE, source, why="it is not text")
        return read_log(stream, source)


def _unpacked(stream: IO[bytes], kind: PackedFile, path: Path, source: str) -> KernelLog:
    """A log in a compressed file; one that cannot be unpacked here is unreadable, with the reason."""
    command = kind.command.format(shlex.quote(path.name))
    if (opener := kind.opener()) is None:
        why = f"it is {kind.name}; `{command}` prints it as text" if command else _PICTURE
        return KernelLog(LogState.UNREADABLE, source, why=why)
    try:
        with opener(stream) as text:
            return read_log(text, source)
    except Exception as error:  # each of these modules has its own, and damage can raise any
        if not kind.damaged(error):
            raise
        why = f"it is {kind.name}, and damaged; see what `{command}` prints"
        return KernelLog(LogState.UNREADABLE, source, why=why)


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
        rest, size, dropping, returns = b"", 0, False, None
        while True:
            chunk = self._stream.read(_CHUNK)
            size += len(chunk)
            if returns is None:
                returns = b"\r" in chunk and b"\n" not in chunk
            chunk = chunk.replace(b"\r", b"\n") if returns else chunk
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
            yield tidied(block)
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
