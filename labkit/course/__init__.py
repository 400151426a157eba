"""A class on labkit: exercises with a variant for each student, and grading outside the student's process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.later import later

if TYPE_CHECKING:
    from labkit.course._calls import machine_of
    from labkit.course._release import release
    from labkit.course.work import open_work

__all__ = [
    "machine_of",
    "open_work",
    "release",
]

# Loaded on first use: a student's notebook needs the least of it.
__getattr__ = later(
    __name__,
    {
        "machine_of": "_calls",
        "release": "_release",
        "open_work": "work",
    },
)
