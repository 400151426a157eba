"""From a guest's bytes to messages of a notebook: decoded, disarmed, coalesced, bounded, in order."""

from __future__ import annotations

import codecs
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

INTERVAL = 0.05
"""Seconds between two messages of running output. One message a line would lose output: the
publishing socket drops what exceeds its queue (ZeroMQ's default send limit, 1000 messages)."""

_TAIL = 4000

# Colours pass; a cleared screen is said to the front end; all other sequences, titles, links and
# movements of the cursor, go (ECMA-48).
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_CLEAR = re.compile(r"(?:\x1b\[(?:1;1)?H)?\x1b\[[23]?J(?:\x1b\[3J)?|\x1bc")
_ESCAPE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_](?:[^\x07\x1b\x9c]|\x1b(?!\\))*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]+[0-~]|\x1b[0-Z\\^-~]"
)
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x9c]*|[ -/]*)\Z")
_CONTROLS = re.compile(
    r"[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_LONGEST_ESCAPE = 4096


class Clear:
    """The guest cleared its screen."""


class Cleaner:
    """Turns raw output, cut anywhere, into text that is safe to stream."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._held = ""

    def feed(self, data: bytes, final: bool = False) -> list[str | Clear]:
        """Take more bytes; ``final`` gives up what was held back because its end was missing."""
        text = self._held + self._decode(data, final)
        self._held = ""
        if not final:
            keep = re.search(r"\r+\Z", text) or _UNFINISHED.search(text, max(0, len(text) - _LONGEST_ESCAPE))
            if keep:
                text, self._held = text[: keep.start()], text[keep.start() :]
        parts: list[str | Clear] = []
        begin = 0
        for escape in re.finditer("\x1b", text):
            at = escape.start()
            if at < begin:
                continue
            parts.append(text[begin:at])
            begin = at
            if match := _COLOUR.match(text, at):
                parts.append(match[0])
            elif match := _CLEAR.match(text, at):
                parts.append(Clear())
            else:
                match = _ESCAPE.match(text, at)
            begin = match.end() if match else at + 1
        parts.append(text[begin:])
        return [_tidy(part) if isinstance(part, str) else part for part in parts if part]


def _tidy(text: str) -> str:
    return _CONTROLS.sub("", text if text.startswith("\x1b") else re.sub(r"\r+\n", "\n", text))


@dataclass
class Publisher:
    """Collects what a cell says, from any thread, and publishes it in order, seldom.

    publish: takes a message type and its content. limit: characters of standard output that are
    shown; of what comes after them the end is shown, with a note that says where the rest is.
    """

    publish: Callable[[str, dict[str, Any]], None]
    limit: int
    where: Callable[[], str] = lambda: "the run directory"
    clock: Callable[[], float] = time.monotonic
    _cleaner: Cleaner = field(default_factory=Cleaner)
    _queue: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _shown: int = 0
    _cut: int = 0
    _tail: str = ""
    _waiting: float | None = None
    _last: str = ""

    @property
    def last_line(self) -> str:
        """The last line that was printed and is not blank; empty where there is none."""
        return next((line.strip() for line in reversed(self._last.splitlines()) if line.strip()), "")

    def output(self, data: bytes, final: bool = False) -> None:
        """Add raw output."""
        with self._lock:
            for part in self._cleaner.feed(data, final):
                if isinstance(part, Clear):
                    self._enqueue("clear_output", {"wait": False})
                else:
                    self._bounded(part)

    def text(self, text: str, name: str = "stdout") -> None:
        """Add text of labkit's own."""
        with self._lock:
            if text:
                self._enqueue("stream", {"name": name, "text": text})
                if name == "stdout":
                    self._last = (self._last + text)[-_TAIL:]

    def add(self, kind: str, content: dict[str, Any]) -> None:
        """Add any other message."""
        with self._lock:
            self._enqueue(kind, content)

    def tick(self) -> None:
        """Publish what there is, once the first of it has waited for what belongs to it."""
        with self._lock:
            if self._waiting is not None and self.clock() - self._waiting >= INTERVAL:
                self.flush()

    def flush(self) -> None:
        """Publish what there is."""
        with self._lock:
            queue, self._queue, self._waiting = self._queue, [], None
            pending: dict[str, list[str]] = {}
            for kind, content in queue:
                if kind == "stream":
                    if content["name"] not in pending:
                        self._send(pending)
                    pending.setdefault(content["name"], []).append(content["text"])
                else:
                    self._send(pending)
                    self.publish(kind, content)
            self._send(pending)

    def close(self) -> None:
        """The cell has ended: publish everything."""
        self.output(b"", final=True)
        with self._lock:
            if self._cut:
                lost = self._cut - len(self._tail)
                if lost:
                    self.text(f"\n[... {lost} characters not shown; the full log is {self.where()} ...]\n")
                self.text(self._tail)
            self.flush()

    def _enqueue(self, kind: str, content: dict[str, Any]) -> None:
        self._queue.append((kind, content))
        if self._waiting is None:
            self._waiting = self.clock()

    def _bounded(self, text: str) -> None:
        room = self.limit - self._shown
        if head := text[: max(0, room)]:
            self._shown += len(head)
            self.text(head)
        if rest := text[max(0, room) :]:
            self._cut += len(rest)
            self._tail = (self._tail + rest)[-_TAIL:]

    def _send(self, pending: dict[str, list[str]]) -> None:
        for name, texts in pending.items():
            self.publish("stream", {"name": name, "text": "".join(texts)})
        pending.clear()
