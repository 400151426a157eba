"""Kernel logs that are not lines of text: documents of ``dmesg --json`` and the journal, other encodings."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

from labkit.host._encoded import MAX_DOCUMENT, as_text, encoding
from labkit.host._folded import is_folded, unfolded
from labkit.host.wrapping import Unwrapped, of_entry, of_journal

if TYPE_CHECKING:
    from types import UnionType  # not in Python 3.8, where the collector runs

_HEAD = 1 << 15
_MAX_DEPTH = 12
_MOST_OBJECTS = 300_000  # an entry of a log takes some 300 bytes
_STAMP = re.compile(r"\[\s{0,12}\d+\.\d{6}\]")
_FIELDS = re.compile(rb"(?:_{0,2}[A-Z][A-Z0-9_]{2,63}=[^\n]*\n){2}")
# RFC 6587: how many bytes follow, then the entry.
_FRAME = re.compile(rb"(\d{1,5}) (?=<\d{1,4}>)")
_VERBOSE = re.compile(r"^\S.{0,80} \[s=[0-9a-f]+;", re.MULTILINE)


def as_lines(stream: IO[bytes]) -> IO[bytes]:
    """The stream, or where it begins as such a document, its messages as lines of a kernel log.

    Raises:
        NotALogError: it is a document of a known kind that cannot be read as text.
    """
    head = stream.read(_HEAD)
    begin = head[:_HEAD]
    if not (encoding(begin) or _form(begin) or is_folded(begin)):
        return _Rest(head, stream)  # type: ignore[return-value]
    data = as_text(head + stream.read(MAX_DOCUMENT))
    if form := _form(data[:_HEAD]):
        return io.BytesIO(form(data))
    return io.BytesIO(unfolded(data) if is_folded(data[:_HEAD]) else data)


class _Rest(io.RawIOBase):
    """What was read already, then the rest."""

    def __init__(self, head: bytes, stream: IO[bytes]) -> None:
        self._head, self._stream = head, stream

    def read(self, size: int = -1) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        return self._stream.read(size)


def _form(head: bytes) -> Callable[[bytes], bytes] | None:
    if encoding := _encoding(head):
        return lambda data: data.decode(encoding, "replace").encode()
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if re.match(rb'\{\s*"dmesg"\s*:', text):
        return _dmesg
    if re.match(rb'\{\s*\n\s*"(?:MESSAGE|_|SYSLOG|PRIORITY)', text):
        return _journal_json
    if re.match(rb'(?:\w{1,20}: \[[\w.-]{1,80}\] => )?(?:\{\s*\n|\[\s*[{"])|"\[', text) or _one_object(text):
        return _document
    if re.match(rb'\{[^\n]*"version"\s*:\s*[23]\b[^\n]*\}\r?\n\[', text):
        return _asciinema
    if _FRAME.match(text) and _octets(text) != text:
        return _octets
    if text.startswith(b"__CURSOR=") or (_FIELDS.match(text) and b"\nMESSAGE=" in text):
        return _journal_export
    if _VERBOSE.match(text.decode("utf-8", "replace")):
        return _journal_verbose
    return None


def _encoding(head: bytes) -> str:
    """The encoding of text that is not in bytes, by its mark or by where its zeros are; else empty."""
    if head[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return "utf-32"
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) > len(head) * 0.4 and min(even, odd) < len(head) * 0.05:
        return "utf-16-le" if odd > even else "utf-16-be"
    return ""


def _one_object(head: bytes) -> bool:
    """One object in one line: a log inside it is a string of many lines, or many entries."""
    line, _, behind = head.partition(b"\n")
    several = b"\\n" in line or len(_STAMP.findall(line.decode("utf-8", "replace"))) > 1
    return line.startswith(b"{") and not behind.strip() and several


def _document(data: bytes) -> bytes:
    """Any other JSON: the entries and the texts of a log in it; not changed where it is none."""
    if data.count(b"{") + data.count(b"[") > max(_MOST_OBJECTS, len(data) // 32):
        return data
    text = _text(data)
    begin = re.match(r"(?:\w{1,20}: \[[\w.-]{1,80}\] => )?", text)
    found = list(_objects(text[begin.end() if begin else 0 :], dict | list | str))
    lines = [line for value in found for line in _lines(value)]
    return _joined(lines) if lines else data


def _lines(value: object, depth: int = 0) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str):
        yield from value.splitlines()
    elif isinstance(value, list):
        for inner in value:
            yield from _lines(inner, depth + 1)
    elif isinstance(value, dict):
        if entry := of_entry(value):
            several = [text for text in value.values() if isinstance(text, str) and "\n" in text.rstrip("\n")]
            yield from [_line(entry)] if entry.foreign or not several else several[0].splitlines()
            return
        for inner in value.values():
            if isinstance(inner, list | dict) or (isinstance(inner, str) and _STAMP.search(inner)):
                yield from _lines(inner, depth + 1)


def _text(data: bytes) -> str:
    return data.decode("utf-8-sig", "replace")


def _dmesg(data: bytes) -> bytes:
    """``dmesg --json``: an object an entry, with the syslog priority (and so the facility) as a number."""
    lines = []
    for entry in _objects(_text(data)[_text(data).find("[") + 1 :]):
        priority = entry.get("pri")
        other = (isinstance(priority, int) and priority > 7) or entry.get("fac") not in (None, "kern")
        stamp = entry.get("time")
        seconds = f"[{stamp}] " if isinstance(stamp, int | float) else ""
        lines.append(f"{'<13>' if other else ''}{seconds}{_first(entry.get('msg'))}")
    return _joined(lines)


def _journal_json(data: bytes) -> bytes:
    return _entries(_objects(_text(data)))


def _journal_export(data: bytes) -> bytes:
    return _entries(_fields(part.splitlines()) for part in re.split(r"\n\s*\n", _text(data)))


def _journal_verbose(data: bytes) -> bytes:
    parts = _VERBOSE.split(_text(data))
    return _entries(_fields(part.splitlines()[1:]) for part in parts)


def _asciinema(data: bytes) -> bytes:
    """A recorded terminal: a head, then an event a line: its time, its kind, its text."""
    _, _, events = _text(data).partition("\n")
    return "".join(
        str(event[2]) for event in _objects(events, list) if len(event) == 3 and event[1] == "o"
    ).encode("utf-8", "replace")


def _octets(data: bytes) -> bytes:
    """Entries of syslog behind one another, each with its length before it; not changed where none fits."""
    lines, position = [], 0
    while frame := _FRAME.match(data, position):
        position = frame.end() + int(frame[1])
        lines.append(data[frame.end() : position].strip())
        if position < len(data) and not _FRAME.match(data, position):
            return data
    return b"\n".join(lines) + b"\n"


def _fields(lines: list[str]) -> dict[str, object]:
    pairs = (line.strip().partition("=") for line in lines)
    return {key: value for key, equals, value in pairs if equals}


def _entries(entries: Iterator[dict[str, object]]) -> bytes:
    return _joined([_line(of_journal(entry)) for entry in entries if "MESSAGE" in entry])


def _line(entry: Unwrapped) -> str:
    stamp = f"[{entry.seconds:.6f}] " if entry.seconds is not None else ""
    return f"{'<13>' if entry.foreign else ''}{stamp}{entry.message}"


def _objects(text: str, kind: type | UnionType = dict) -> Iterator[Any]:
    """The objects of a text that follow one another; what is none ends them."""
    decoder, position = json.JSONDecoder(), 0
    gap = re.compile(r"[\s,\x1e]*")
    while True:
        position = gap.match(text, position).end()  # type: ignore[union-attr]
        try:
            entry, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            return
        if not isinstance(entry, kind):
            return
        yield entry


def _first(message: object) -> str:
    return str(message if isinstance(message, str) else "").partition("\n")[0]


def _joined(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
