"""What a learner has of their own: copies of the notebooks, predictions, and how far they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.later import later
from labkit.learn.ask import Notebook
from labkit.learn.copies import copy, reset
from labkit.learn.progressing import progress
from labkit.learn.wait import waiting

if TYPE_CHECKING:
    from labkit.learn.panel import show_panel

__all__ = [
    "Notebook",
    "copy",
    "progress",
    "reset",
    "show_panel",
    "waiting",
]

# Loaded on first use: it stands on all that boots.
__getattr__ = later(__name__, {"show_panel": "panel"})
