"""Merge marks into nbgrader's gradebook, so that its formgrader and its feedback show them."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labkit.course.classes import ClassGrades, StudentRow
from labkit.course.course import Course
from labkit.course.model import Exercise
from labkit.errors import MissingComponent, StorageError
from labkit.later import spare_iri_grammar

_FILE = "gradebook.db"
_NONE = "none"
# What databases say, and what helps; the first that fits.
_REMEDIES = (
    ("locked", "Close formgrader, then give the same command again: nothing is graded twice."),
    ("no such", "It is of another nbgrader: run `nbgrader db upgrade` in its folder."),
    ("full", "Free some space, then give the same command again: nothing is graded twice."),
    ("readonly", "Make it writable, or name another one with --gradebook."),
    ("", "Name one as sqlite:///gradebook.db with --gradebook, or leave it out with `--gradebook none`."),
)


def merge(course: Course, exercise: Exercise, grades: ClassGrades, url: str | None = None) -> str:
    """Write the marks of a class into a gradebook, each student's in one transaction; returns what was done.

    url: an SQLAlchemy address; without one the course's ``gradebook.db``, where there is one; ``none`` leaves
    it alone. Marks that a teacher gave by hand stay.

    Raises:
        MissingComponent: nbgrader or the driver of a database is not installed.
        StorageError: the gradebook cannot be opened or written.
    """
    own = course.folder / _FILE
    if url == _NONE or (url is None and not own.exists()):
        return ""
    address = url or f"sqlite:///{own.absolute()}"
    spare_iri_grammar()
    try:
        from nbgrader.api import Gradebook
        from sqlalchemy.exc import SAWarning, SQLAlchemyError
    except ImportError as error:
        raise MissingComponent("nbgrader is not installed.", "Run: pip install 'labkit[teach]'") from error
    rows = [row for row in grades.rows if not row.problem]
    try:
        with _own_programs(), warnings.catch_warnings(), Gradebook(address) as book:
            # nbgrader's own way of adding a submission; there is nothing that a teacher could do about it.
            warnings.simplefilter("ignore", SAWarning)
            _prepare(book, exercise)
            for row in rows:
                _merge_row(book, exercise, row)
    except SQLAlchemyError as error:
        why = str(error).splitlines()[0]
        raise StorageError(
            f"The gradebook {_shown(address)} cannot be written: {why}.",
            next(remedy for words, remedy in _REMEDIES if words in why),
        ) from error
    except ModuleNotFoundError as error:  # SQLAlchemy loads the driver of a database when it is named
        raise MissingComponent(
            f"The gradebook {_shown(address)} needs the package {error.name}, which is not installed.",
            f"Run: pip install {error.name}",
        ) from error
    count = sum("missing" not in row.flags for row in rows)
    return f"{count} marks are in nbgrader's gradebook {_shown(address)}."


def _shown(address: str) -> str:
    """An address without its password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(address).render_as_string()
    except ArgumentError:
        return address


def cell_name(question: str) -> str:
    """The ``grade_id`` of the cell with a question's points."""
    return f"check-{question}"


@contextmanager
def _own_programs() -> Iterator[None]:
    """Let nbgrader find ``alembic``, which it starts by its name for a new gradebook, beside this Python."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _prepare(book: Any, exercise: Exercise) -> None:
    name = exercise.name
    book.update_or_create_assignment(name)
    book.update_or_create_notebook(name, name)
    for question in exercise.questions:
        book.update_or_create_grade_cell(
            cell_name(question.key), name, name, max_score=question.points, cell_type="code"
        )


def _merge_row(book: Any, exercise: Exercise, row: StudentRow) -> None:
    """All marks of a submission or none: they are committed together."""
    name = exercise.name
    book.update_or_create_student(row.student)
    if "missing" in row.flags:
        return
    book.update_or_create_submission(name, row.student)
    for entry in row.marks:
        grade = book.find_grade(cell_name(entry.question), name, name, row.student)
        grade.auto_score = 0 if row.void else entry.points
        grade.needs_manual_grade = False
    book.db.commit()
