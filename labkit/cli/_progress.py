"""``labkit progress``: what a learner predicted, chapter by chapter."""

from __future__ import annotations

from pathlib import Path

import click

from labkit.cli._common import emit, json_option
from labkit.learn.copies import course_folder
from labkit.learn.progressing import progress
from labkit.settings import Settings


@click.command("progress", epilog="Example: labkit progress my-lab")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
@json_option
def command(folder: Path, as_json: bool) -> None:
    """Show which predictions of each chapter were made, and how many came out as predicted.

    DIR is a copy of the notebooks; elsewhere, what was predicted outside of any copy is shown.
    """
    emit(progress(folder, course_folder(), Settings.load()), as_json)
