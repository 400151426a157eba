"""``labkit submit``: a student's work as one file."""

from __future__ import annotations

from pathlib import Path

import click

from labkit.cli._common import emit, json_option


@click.command("submit")
@click.argument("name", required=False)
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="The folder of the assignment; by default this folder.",
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.zip")
@json_option
def command(name: str | None, work: Path, output: Path | None, as_json: bool) -> None:
    """Pack your work on the assignment NAME into a file to hand in.

    Without NAME, it is the assignment whose folder this is.

    Example: labkit submit mrtd --output mrtd.zip
    """
    from labkit.course.exercises import exercise
    from labkit.course.submissions import assignment_in, pack

    emit(pack(work, exercise(name or assignment_in(work)).name, output), as_json)
