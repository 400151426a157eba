"""``labkit course``: a course with a secret seed and a roster."""

from __future__ import annotations

from pathlib import Path

import click

from labkit.cli._common import emit, json_option
from labkit.cli._lazy import Group

COURSE = click.option(
    "--course",
    "course_dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The folder of the course; by default LABKIT_COURSE, else this folder.",
)


@click.group(cls=Group)
def command() -> None:
    """A course: a secret seed, from which every student's variant follows, and a roster.

    Example: labkit course init roster.csv --course mycourse
    """


@command.command()
@click.argument("roster", type=click.Path(dir_okay=False, path_type=Path))
@COURSE
@json_option
def init(roster: Path, course_dir: Path | None, as_json: bool) -> None:
    """Make a course from ROSTER, a CSV file with a column `id`; done again, the roster is replaced.

    Example: labkit course init roster.csv --course mycourse
    """
    from labkit.course.course import course_folder, init_course

    emit(init_course(roster, course_folder(course_dir)), as_json)
