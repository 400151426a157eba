"""A class on labkit: exercises with a variant for each student, and grading outside the student's process."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.course._calls import machine_of
    from labkit.course._class import ClassGrades, grade_class
    from labkit.course._course import Course, course_folder, init_course, open_course, parse_time
    from labkit.course._gradebook import merge
    from labkit.course._model import Claims, Exercise, Task, Variant
    from labkit.course._release import release
    from labkit.course._sandbox import Limits
    from labkit.course._submissions import pack
    from labkit.course._work import Work, open_work, self_report
    from labkit.course.exercises import all_exercises, exercise

__all__ = [
    "Claims",
    "ClassGrades",
    "Course",
    "Exercise",
    "Limits",
    "Task",
    "Variant",
    "Work",
    "all_exercises",
    "course_folder",
    "exercise",
    "grade_class",
    "init_course",
    "machine_of",
    "merge",
    "open_course",
    "open_work",
    "pack",
    "parse_time",
    "release",
    "self_report",
]

# Loaded on first use: a student's notebook needs the least of it.
_LATER = {
    "machine_of": "_calls",
    "ClassGrades": "_class",
    "grade_class": "_class",
    "Course": "_course",
    "course_folder": "_course",
    "init_course": "_course",
    "open_course": "_course",
    "parse_time": "_course",
    "merge": "_gradebook",
    "Claims": "_model",
    "Exercise": "_model",
    "Task": "_model",
    "Variant": "_model",
    "release": "_release",
    "Limits": "_sandbox",
    "pack": "_submissions",
    "Work": "_work",
    "open_work": "_work",
    "self_report": "_work",
    "exercise": "exercises",
    "all_exercises": "exercises",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"labkit.course.{_LATER[name]}"), name)
    raise AttributeError(f"module 'labkit.course' has no attribute {name!r}")
