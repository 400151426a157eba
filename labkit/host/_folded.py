"""Kernel logs whose long lines were folded: by a mail program, by ``fold``, in a terminal."""

from __future__ import annotations

import re

from labkit.host._message import Role
from labkit.host._messages import classify
from labkit.host.wrapping import Unwrapped, unwrap

_NARROWEST, _WIDEST = 48, 240
_SCREENS = (64, 65, 70, 72, 74, 76, 78, 79, 80, 100, 120, 132, 160)
_FEW = 2  # full lines that show a fold in a log without stamps
_QUOTE = re.compile(r"\s*(?:[>|]\s?)*")
# What a line of a log begins with, roughly; the reader of wrappings then says whether it is one.
_MAYBE = re.compile(r"[\s>|]*(?:[\[<({\d]|\w{3,9}\.? |\w{3} )")
_CLOSED = (Role.START, Role.SUCCESS, Role.FAILURE, Role.GUEST)


def is_folded(head: bytes) -> bool:
    """A text has lines that can only be the rest of the line before them."""
    lines = _lines(head[: head.rfind(b"\n") + 1] or head)
    width = _width(lines)
    return bool(width and _Folds(width, lines).places)


def unfolded(data: bytes) -> bytes:
    """The text with every folded line put together."""
    lines = _lines(data)
    folds = _Folds(_width(lines), lines)
    joined: list[str] = []
    for number, line in enumerate(lines):
        if number in folds.places and joined:
            joined[-1] = folds.join(joined[-1], line, full=len(lines[number - 1]) == folds.width)
        else:
            joined.append(line)
    return "\n".join(joined).encode("utf-8", "surrogateescape")


def _lines(data: bytes) -> list[str]:
    return [line.rstrip("\r") for line in data.decode("utf-8", "surrogateescape").split("\n")]


def _width(lines: list[str]) -> int:
    """Where the lines of a text end, if they do at a column: 0 where some are much longer than a screen's."""
    longest = max(map(len, lines), default=0)
    return longest if _NARROWEST <= longest <= _WIDEST else 0


class _Folds:
    """Where a text is folded.

    places: numbers of the lines that go on with the line before. hard: every fold is at the same column, in
    the middle of words.
    """

    def __init__(self, width: int, lines: list[str]) -> None:
        self.width = width
        self.places: set[int] = set()
        self.hard = True
        if not width:
            return
        within, stamped, full = False, False, 0
        for number, line in enumerate(lines):
            entry = _entry(line)
            begins = entry.known or (not stamped and classify(entry.message) is not None)
            if within and not begins and self._too_long(lines[number - 1], line):
                self.places.add(number)
                self.hard &= len(lines[number - 1]) == width
                full += len(lines[number - 1]) == width
                continue
            stamped |= entry.known
            within = _open(entry, line)
        # The longest line of every text is full: one that could be a fold shows nothing yet.
        shown = full >= _FEW or width in _SCREENS or not self.hard
        if not shown or not (stamped or (self.hard and full >= _FEW)):
            self.places.clear()

    def _too_long(self, before: str, line: str) -> bool:
        """The first word of the line had no room behind the line before it."""
        words = _QUOTE.sub("", line, count=1).split(None, 1)
        full = len(before) == self.width and not before.endswith(" ")
        return bool(words) and (full or len(before) + 1 + len(words[0]) > self.width)

    def join(self, before: str, line: str, *, full: bool) -> str:
        """The two parts of a line as one."""
        rest = line if self.hard and full else _QUOTE.sub("", line, count=1)
        glued = before + rest
        if self.hard or before.endswith(" "):
            return glued
        if not full:
            return f"{before} {rest}"
        # A full line: only the whole message tells whether a space was between the parts.
        return glued if _closed(unwrap(glued).message) else f"{before} {rest}"


def _entry(line: str) -> Unwrapped:
    return unwrap(line) if line.isprintable() and _MAYBE.match(line) else Unwrapped(line.strip())


def _open(entry: Unwrapped, line: str) -> bool:
    """The line may go on: it is an entry of a log, and no message that is whole."""
    if not line.strip():
        return False
    return (entry.known or classify(entry.message) is not None) and not _closed(entry.message)


def _closed(message: str) -> bool:
    found = classify(message)
    return found is not None and found[0].role in _CLOSED and not found[0].body.endswith(".*")
