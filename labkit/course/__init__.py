"""A class on labkit: exercises with a variant for each student, and grading outside the student's process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.later import later

if TYPE_CHECKING:
    from labkit.course._calls import machine_of
    from labkit.course._release import release
    from labkit.course.classes import grade_class
    from labkit.course.course import init_course, open_course
    from labkit.course.exercises import all_exercises, exercise
    from labkit.course.work import open_work

__all__ = [
    "all_exercises",
    "exercise",
    "grade_class",
    "init_course",
    "machine_of",
    "open_course",
    "open_work",
    "release",
]

# Loaded on first use: a student's notebook needs the least of it.
__getattr__ = later(
    __name__,
    {
        "machine_of": "_calls",
        "grade_class": "classes",
        "init_course": "course",
        "open_course": "course",
        "release": "_release",
        "open_work": "work",
        "exercise": "exercises",
        "all_exercises": "exercises",
    },
)
