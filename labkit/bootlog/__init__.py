"""A boot log becomes stages, and a verdict with its remedy: Linux, Asterinas, and any guest with a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.bootlog.timeline import GuestType, Timeline
from labkit.bootlog.watcher import BootWatcher
from labkit.later import later

if TYPE_CHECKING:
    from labkit.bootlog.asterinas import BootLogReader, BootReport

__all__ = [
    "BootLogReader",
    "BootReport",
    "BootWatcher",
    "GuestType",
    "Timeline",
]

# Loaded on first use: Linux' boots need none of what is known of other logs.
__getattr__ = later(
    __name__,
    {
        "BootLogReader": "asterinas",
        "BootReport": "asterinas",
    },
)
