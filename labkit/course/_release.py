"""Release an assignment: each student's notebook and files, in nbgrader's layout ``DIR/ID/NAME``."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.course.course import Course, refusing, shown_moment
from labkit.course.model import ANSWERS, CHALLENGE, Exercise, Task, answers_file
from labkit.course.notebooks import student_notebook
from labkit.errors import StorageError
from labkit.files import write_whole

_README = "README.txt"


@dataclass(frozen=True)
class Released:
    """What was released to where. due: seconds since 1970, if there is a time."""

    assignment: str
    folder: Path
    students: int
    solutions: bool
    due: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "assignment": self.assignment,
            "folder": str(self.folder),
            "students": self.students,
            "solutions": self.solutions,
            "due": self.due,
        }

    def __str__(self) -> str:
        what = "worked solutions, for the teacher only" if self.solutions else "variants"
        line = f"{self.assignment}: {self.students} {what}, in {self.folder}/ID/{self.assignment}/"
        if self.due is None or self.solutions:
            return line
        return f"{line}\nDue {shown_moment(self.due)}; what comes later is flagged."


def student_files(task: Task, notebook: bytes) -> dict[str, bytes]:
    """What one student gets, by file name."""
    name = task.challenge.assignment
    return {
        f"{name}.ipynb": notebook,
        CHALLENGE: task.challenge_file(),
        _README: (
            f"{task.exercise.title}\n\nOpen {name}.ipynb. The files here are yours alone; no other answers "
            f"fit them.\nHand in with: labkit submit {name}\n"
        ).encode(),
        **task.variant.files,
    }


def solution_files(task: Task, notebook: bytes) -> dict[str, bytes]:
    """A student's worked solution: the student's files, and claims that get full marks."""
    claims = task.exercise.solve(task)
    return {
        **student_files(task, notebook),
        **claims.files,
        ANSWERS: answers_file(task.challenge, claims.answers),
        _README: f"WORKED SOLUTION of {task.exercise.title}. For the teacher only.\n".encode(),
    }


def release(
    course: Course,
    exercise: Exercise,
    output: Path | None = None,
    solutions: bool = False,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Released:
    """Write each student's folder. A folder that was released before stays as it is: somebody works in it.

    Raises:
        StorageError: a folder is there that was not released by this course, or cannot be written.
        MissingComponent: nbgrader is not installed.
    """
    folder = output or course.folder / ("solutions" if solutions else "released")
    make = solution_files if solutions else student_files
    before = False
    with refusing(folder):
        notebook = student_notebook(exercise.name, course.notebooks, solutions)
        for student in course.students:
            task = exercise.task(course.seed, course.identity, student)
            place = folder / student / exercise.name
            files = make(task, notebook)
            if place.exists():
                before = True
                same = CHALLENGE if not solutions else _README
                _refuse_other(place, same, files[same])
            if not place.exists() or solutions:
                _write(place, files)
            on_progress(student)
        if not solutions and exercise.name not in course.released and not before:
            course.set_released(exercise.name, time.time())
    due = course.due.get(exercise.name)
    return Released(exercise.name, folder, len(course.students), solutions, due)


def _refuse_other(place: Path, name: str, data: bytes) -> None:
    path = place / name
    if any(place.iterdir()) and not (path.is_file() and path.read_bytes() == data):
        raise StorageError(
            f"{place} is there, and not from this release.",
            "Release to another folder with --output, or move that one away first.",
        )


def _write(place: Path, files: dict[str, bytes]) -> None:
    """Write a folder as a whole; in one that is there, each file as a whole."""
    if place.exists():
        # The challenge last: with it, the folder is complete.
        for name in sorted(files, key=lambda name: (name == CHALLENGE, name)):
            write_whole(place / name, files[name])
        return
    draft = place.with_name(f".{place.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        for name, data in files.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        draft.rename(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
