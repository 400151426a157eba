"""A boot log becomes stages, and a verdict with its remedy: Linux, Asterinas, and any guest with a prompt."""

from __future__ import annotations

from labkit.bootlog._asterinas import BootLogReader, BootOutcome, BootReport, Goal, Layer, classify
from labkit.bootlog._failures import FAILURES, HANGS, Failure, FailureKind, Hang
from labkit.bootlog._follow import BootLog
from labkit.bootlog._timeline import GuestType, Mark, Timeline
from labkit.bootlog._watcher import CONSOLE, SERIAL, BootWatcher, Guest

__all__ = [
    "CONSOLE",
    "FAILURES",
    "HANGS",
    "SERIAL",
    "BootLog",
    "BootLogReader",
    "BootOutcome",
    "BootReport",
    "BootWatcher",
    "Failure",
    "FailureKind",
    "Goal",
    "Guest",
    "GuestType",
    "Hang",
    "Layer",
    "Mark",
    "Timeline",
    "classify",
]
