"""``labkit notebooks``: a learner's own copies of the notebooks."""

from __future__ import annotations

import os
from pathlib import Path

import click

from labkit.cli._common import emit, json_option
from labkit.cli._lazy import Group
from labkit.files import from_home
from labkit.learn.copies import copy, course_folder, reset, sanitize_file
from labkit.learn.journal import work_folder
from labkit.learn.open import lab_words


@click.group("notebooks", cls=Group, epilog="Example: labkit notebooks copy my-lab")
def command() -> None:
    """Copies of the notebooks to work in, without outputs."""


@command.command("copy", epilog="Example: labkit notebooks copy my-lab")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@json_option
def _copy(folder: Path, as_json: bool) -> None:
    """Copy the notebooks and exercises to DIR, without outputs.

    Called again, it adds what is missing; what is in DIR stays as it is.
    """
    emit(copy(folder), as_json)


@command.command("reset", epilog="Example: labkit notebooks reset my-lab 03-boot-the-tdvm")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("name", required=False)
@json_option
def _reset(folder: Path, name: str | None, as_json: bool) -> None:
    """Put a fresh copy in the place of notebook NAME of DIR, or of all.

    What was there is moved to DIR/.labkit/kept, and predictions are kept.
    """
    emit(reset(folder, name), as_json)


@command.command(
    "open", epilog="Example: labkit notebooks open my-lab", context_settings={"ignore_unknown_options": True}
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def _open(folder: Path, options: tuple[str, ...]) -> None:
    """Open JupyterLab on DIR at the first chapter; DIR is made if it is not there.

    OPTIONS go to JupyterLab.
    """
    folder = from_home(folder).absolute()
    if work_folder(folder) is None:
        # Its other lines say how to open them.
        click.echo(str(copy(folder)).splitlines()[0], err=True)
    words, environment = lab_words(folder, options, os.environ)
    os.execve(words[0], words, environment)


@command.command(
    "sanitize-file",
    epilog='Example: pytest --nbval --nbval-sanitize-with "$(labkit notebooks sanitize-file)"',
)
@click.option("--folder", is_flag=True, help="Print the folder of the shipped notebooks instead.")
def _sanitize_file(folder: bool) -> None:
    """Print the path of the file with which nbval compares notebooks that use labkit."""
    click.echo(course_folder() if folder else sanitize_file())
