"""A boot log becomes stages, and a verdict with its remedy: Linux, Asterinas, and any guest with a prompt."""

from __future__ import annotations

from labkit.bootlog.asterinas import BootLogReader, BootReport
from labkit.bootlog.failures import FAILURES, HANGS
from labkit.bootlog.timeline import GuestType, Timeline
from labkit.bootlog.watcher import BootWatcher

__all__ = [
    "FAILURES",
    "HANGS",
    "BootLogReader",
    "BootReport",
    "BootWatcher",
    "GuestType",
    "Timeline",
]
