"""How long a cell has been running that says nothing yet, to a person who waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from labkit.kernel.output import Publisher
from labkit.show import View
from labkit.show.progress import done_view, progress_view

_BEAT = 1.0
"""Seconds until it is shown, and between two pictures of it."""


@dataclass
class Pulse:
    """A line that counts the seconds of a cell; where output comes at once, it is never shown."""

    title: str
    publisher: Publisher
    clock: Callable[[], float] = time.monotonic
    _id: str = field(default_factory=lambda: uuid4().hex)
    _began: float = field(init=False)
    _drawn: float | None = None
    _heard: bool = False

    def __post_init__(self) -> None:
        """It counts from now."""
        self._began = self.clock()

    def beat(self, silent: bool) -> None:
        """Draw it where it is time. silent: nothing was printed since the last beat."""
        now = self.clock()
        self._heard |= not silent
        if self._drawn is None and self._heard:
            return
        if now - (self._began if self._drawn is None else self._drawn) >= _BEAT:
            self._draw(progress_view(self.title, ["running"], now - self._began, None))
            self._drawn = now

    def end(self, well: bool) -> None:
        """Leave how long it took, where it was shown."""
        if self._drawn is not None:
            self._draw(done_view(self.title, self.clock() - self._began, well))

    def _draw(self, view: View) -> None:
        kind = "display_data" if self._drawn is None else "update_display_data"
        data = {"text/plain": view.text, "text/html": str(view.html)}
        self.publisher.add(kind, {"data": data, "metadata": {}, "transient": {"display_id": self._id}})
        self.publisher.flush()
