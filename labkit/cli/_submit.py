"""``labkit submit``: a student's work as one file."""

from __future__ import annotations

from pathlib import Path

import click

from labkit.cli._common import emit, json_option


@click.command("submit")
@click.argument("name")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="The folder of the assignment; by default this folder.",
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.zip")
@json_option
def command(name: str, work: Path, output: Path | None, as_json: bool) -> None:
    """Pack your work on the assignment NAME into a file to hand in.

    Example: labkit submit mrtd --output mrtd.zip
    """
    from labkit.course import exercise
    from labkit.course.submissions import pack

    emit(pack(work, exercise(name).name, output), as_json)
