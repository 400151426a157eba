"""Merge marks into nbgrader's gradebook, so that formgrader and feedback show them."""

from __future__ import annotations

from labkit.course._class import ClassGrades, Row
from labkit.course._course import Course
from labkit.course._model import Exercise


def merge(course: Course, exercise: Exercise, grades: ClassGrades, url: str | None = None) -> str:
    """placeholder"""
    return ""
