"""What a learner has of their own: copies of the notebooks, predictions, and how far they are."""

from __future__ import annotations

from labkit.learn._ask import Notebook
from labkit.learn._copies import FIRST, Copied, copy, course_folder, fresh, reset, sanitize_file
from labkit.learn._journal import MARK, journal_file, work_folder
from labkit.learn._open import lab_words
from labkit.learn._panel import show_panel
from labkit.learn._progress import Progress, progress, questions
from labkit.learn._question import Answer, Judged, Kind, make_question
from labkit.learn._waiting import waiting

__all__ = [
    "FIRST",
    "MARK",
    "Answer",
    "Copied",
    "Judged",
    "Kind",
    "Notebook",
    "Progress",
    "copy",
    "course_folder",
    "fresh",
    "journal_file",
    "lab_words",
    "make_question",
    "progress",
    "questions",
    "reset",
    "sanitize_file",
    "show_panel",
    "waiting",
    "work_folder",
]
