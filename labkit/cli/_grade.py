"""``labkit grade``: the marks of a class, or a look at one's own work."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from labkit.cli._common import SECONDS, TARGET, Whole, emit, json_option, note
from labkit.cli._course import COURSE
from labkit.errors import StorageError, UsageError


@dataclass(frozen=True)
class _Self:
    rows: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        return {"questions": [{"question": key, "says": text} for key, text in self.rows]}

    def __str__(self) -> str:
        return "\n".join(f"{key}: {text}" for key, text in self.rows)


@click.command("grade")
@click.argument("name", required=False)
@click.argument("submissions", required=False, type=click.Path(path_type=Path))
@COURSE
@click.option(
    "-j", "jobs", type=Whole(1, 256), metavar="N", help="Local workers; by default one for each CPU."
)
@click.option("--scheduler", metavar="ADDRESS", help="Grade on the Dask cluster of this scheduler.")
@click.option("--csv", "csv_file", type=TARGET, metavar="FILE", help="Write the marks as CSV.")
@click.option("--junit", "junit_file", type=TARGET, metavar="FILE", help="Write a JUnit report.")
@click.option("--explain", is_flag=True, help="Say for every mark why.")
@click.option("--gradebook", metavar="URL", help="Merge into this gradebook of nbgrader, or `none`.")
@click.option(
    "--timeout",
    type=SECONDS,
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    help="Seconds of work that the code of a submission may take; it may sleep for half as many.",
)
@click.option(
    "--no-rerun", is_flag=True, help="Grade what was handed in, without running the notebooks again."
)
@click.option("--self", "own", is_flag=True, help="Look at your own work, without a course.")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="With --self: its folder.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    name: str | None,
    submissions: Path | None,
    course_dir: Path | None,
    jobs: int | None,
    scheduler: str | None,
    csv_file: Path | None,
    junit_file: Path | None,
    explain: bool,
    gradebook: str | None,
    timeout: float,
    no_rerun: bool,
    own: bool,
    work: Path,
    as_json: bool,
) -> None:
    """Grade the submissions for the assignment NAME; SUBMISSIONS has ID/NAME/ folders or zip files.

    What was graded before and has not changed is not graded again. Exits with 0, or with 1 where a submission
    could not be graded.

    Example: labkit grade mrtd submitted --course mycourse --csv marks.csv
    """
    if own:
        from labkit.course.work import self_report

        emit(_Self(tuple(self_report(work, name))), as_json)
        return
    if name is None or submissions is None:
        raise UsageError(
            "Which assignment, and where are the submissions?", "Say: labkit grade NAME SUBMISSIONS"
        )
    from labkit.course.classes import grade_class
    from labkit.course.course import course_folder, open_course
    from labkit.course.exercises import exercise
    from labkit.course.gradebook import merge
    from labkit.course.sandbox import Limits

    course = open_course(course_folder(course_dir))
    grades = grade_class(
        course,
        exercise(name),
        submissions,
        jobs or os.cpu_count() or 1,
        scheduler,
        rerun=not no_rerun,
        limits=Limits(seconds=timeout),
        on_progress=_progress,
    )
    if not grades.handed_in:
        note(f"Nothing of {name} is in {submissions}: no ID/{name}/ folder and no zip file.")
    if csv_file:
        _write(csv_file, grades.csv().encode())
    if junit_file:
        _write(junit_file, grades.junit())
    merged = merge(course, exercise(name), grades, gradebook)
    if merged:
        note(merged)
    if explain and not as_json:
        click.echo(grades.explain())
    else:
        emit(grades, as_json)
    context.exit(1 if grades.failed else 0)


def _progress(done: int, count: int, student: str) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == count else "\r"
        click.echo(f"graded {done} of {count}: {student}\x1b[K", err=True, nl=False)
        click.echo(end, err=True, nl=False)
    elif done == count or done % 25 == 0:
        note(f"graded {done} of {count}")


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.", "Name another file.") from error
