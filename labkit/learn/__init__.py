"""What a learner has of their own: copies of the notebooks, predictions, and how far they are."""

from __future__ import annotations

from labkit.learn._ask import Notebook
from labkit.learn._panel import show_panel
from labkit.learn.copies import copy, reset
from labkit.learn.progressing import progress
from labkit.learn.question import make_question
from labkit.learn.wait import waiting

__all__ = [
    "Notebook",
    "copy",
    "make_question",
    "progress",
    "reset",
    "show_panel",
    "waiting",
]
