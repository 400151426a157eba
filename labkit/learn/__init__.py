"""What a learner has of their own: copies of the notebooks, predictions, and how far they are."""

from __future__ import annotations

from labkit.learn._ask import Notebook
from labkit.learn._panel import show_panel
from labkit.learn._waiting import waiting
from labkit.learn.copies import copy, reset
from labkit.learn.progressing import progress

__all__ = [
    "Notebook",
    "copy",
    "progress",
    "reset",
    "show_panel",
    "waiting",
]
