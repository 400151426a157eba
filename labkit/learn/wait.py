"""A sign of life while something takes time, where a person waits for it."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from labkit.files import write_whole
from labkit.settings import Settings
from labkit.show.front_end import Place, is_live
from labkit.show.progress import done_view, progress_view

_TICK = 0.5
"""Seconds between two pictures of the progress."""

_FILE = "durations.json"
_MARK = re.compile(r" \(\d+\.\d s\)$")


@contextlib.contextmanager
def waiting(
    title: str, key: str, settings: Settings, turns: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Callable[[str], None]]:
    """Show progress in the running cell until the block ends; yields what takes a step's name.

    Where nobody looks on, nothing is shown. ``key`` names what is timed: the next time, that is expected.
    turns: steps by which it turns out to be something else, and the key of that.
    """
    if not is_live(settings.ui):
        yield lambda _text: None
        return
    place, steps, began = Place(), list[str](), time.monotonic()
    known = _durations(settings)
    timed = key
    ended = threading.Event()

    def passed() -> float:
        return time.monotonic() - began

    def show() -> None:
        place.show(progress_view(title, steps, passed(), known.get(timed)))

    def draw() -> None:
        while not ended.wait(_TICK):
            show()

    def step(text: str) -> None:
        nonlocal timed
        name = _MARK.sub("", text)
        # That one goes on is to be seen without words.
        if not steps or not name.startswith(f"{steps[-1]} goes on "):
            steps.append(name)
        timed = turns.get(name, timed)

    show()
    painter = threading.Thread(target=draw, name="labkit-progress", daemon=True)
    painter.start()
    well = False
    try:
        yield step
        well = True
    finally:
        ended.set()
        painter.join()
        place.show(done_view(title, passed(), well))
    _remember(settings, timed, passed())


def _file(settings: Settings) -> Path:
    return settings.cache_dir / _FILE


def _durations(settings: Settings) -> dict[str, float]:
    try:
        known = json.loads(_file(settings).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {str(key): float(value) for key, value in known.items() if isinstance(value, int | float)}


def _remember(settings: Settings, key: str, seconds: float) -> None:
    """Keep how long it took; the cache may be gone or full, and then nothing is expected."""
    with contextlib.suppress(OSError):
        known = {**_durations(settings), key: round(seconds, 1)}
        write_whole(_file(settings), json.dumps(known).encode())
