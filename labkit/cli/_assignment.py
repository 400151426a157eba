"""``labkit assignment``: the assignments there are, and releasing one to a class."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from labkit.cli._common import emit, json_option, note
from labkit.cli._course import COURSE
from labkit.cli._lazy import Group


@click.group(cls=Group)
def command() -> None:
    """Assignments: each student gets a variant of their own.

    Example: labkit assignment release mrtd --course mycourse
    """


@dataclass(frozen=True)
class _List:
    rows: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        return {"assignments": list(self.rows)}

    def __str__(self) -> str:
        from labkit.show import columns

        head = ("assignment", "points", "chapter", "needs", "title")
        return columns(
            [
                head,
                *(
                    tuple(str(row[name]) for name in ("name", "points", "chapter", "needs", "title"))
                    for row in self.rows
                ),
            ]
        )


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Every assignment, with its points, its chapter and what a student needs for it.

    Example: labkit assignment list
    """
    from labkit.course.exercises import all_exercises

    rows = tuple(
        {
            "name": found.name,
            "title": found.title,
            "chapter": found.chapter,
            "points": found.points,
            "questions": [question.key for question in found.questions],
            "needs": "a TDVM" if found.boots else "labkit",
        }
        for found in all_exercises()
    )
    emit(_List(rows), as_json)


@command.command()
@click.argument("name")
@COURSE
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where to; by default `released` (or `solutions`) in the course.",
)
@click.option("--solutions", is_flag=True, help="Each student's worked solution instead, for the teacher.")
@click.option("--due", metavar="TIME", help="When it is to be handed in, such as 2027-03-01T18:00+01:00.")
@json_option
def release(
    name: str, course_dir: Path | None, output: Path | None, solutions: bool, due: str | None, as_json: bool
) -> None:
    """Write each student's notebook and files to DIR/ID/NAME/, as nbgrader lays them out.

    A folder that is there already stays as it is, since a student may be working in it.

    Example: labkit assignment release mrtd --course mycourse
    """
    from labkit.course import release as release_assignment
    from labkit.course.course import course_folder, open_course, parse_time, shown_moment
    from labkit.course.exercises import exercise

    found = exercise(name)
    course = open_course(course_folder(course_dir))
    if due is not None:
        moment = parse_time(due)
        if moment < time.time():
            note(f"The due date {shown_moment(moment)} is past: all that is handed in now is flagged `late`.")
        course = course.set_due(found.name, moment)
    emit(release_assignment(course, found, output, solutions), as_json)
