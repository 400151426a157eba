"""A boot log becomes stages, and a verdict with its remedy: Linux, Asterinas, and any guest with a prompt."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from labkit.bootlog.timeline import GuestType, Timeline
from labkit.bootlog.watcher import BootWatcher

if TYPE_CHECKING:
    from labkit.bootlog.asterinas import BootLogReader, BootReport
    from labkit.bootlog.failures import FAILURES, HANGS

__all__ = [
    "FAILURES",
    "HANGS",
    "BootLogReader",
    "BootReport",
    "BootWatcher",
    "GuestType",
    "Timeline",
]

# Loaded on first use: Linux' boots need none of what is known of other logs.
_LATER = {
    "BootLogReader": "asterinas",
    "BootReport": "asterinas",
    "FAILURES": "failures",
    "HANGS": "failures",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"labkit.bootlog.{_LATER[name]}"), name)
    raise AttributeError(f"module 'labkit.bootlog' has no attribute {name!r}")
