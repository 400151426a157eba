"""What the verbs share: ``--json``, the options of a boot, and one way to print a result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import click

from labkit.errors import UsageError
from labkit.files import read_named
from labkit.settings import check_seconds

EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
"""The type of an option that names a file which must be there."""


class Whole(click.IntRange):
    """The type of an option that is a whole number."""

    name = "whole number"


class _Seconds(click.types.FloatParamType):
    name = "number of seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        try:
            check_seconds(seconds)
        except UsageError as error:
            self.fail(f"{error.message} {error.remedy}", param, ctx)
        return seconds


SECONDS = _Seconds()
"""The type of an option that says how long something may take."""


class Printable(Protocol):
    """Anything a verb prints: ``str`` for people, ``to_dict`` for programs."""

    def to_dict(self) -> dict[str, Any]: ...


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json``: one JSON document on standard output, nothing else there."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def boot_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every verb that boots a TDVM: its platform, and what goes into it."""
    platforms = click.Choice(["auto", "hardware", "emulated"])
    options = [
        click.option("--platform", type=platforms, default="auto", show_default=True),
        click.option("--memory", type=Whole(), metavar="MIB", help="The guest's memory."),
        click.option("--smp", type=Whole(), default=1, metavar="N", help="The guest's virtual CPUs."),
        click.option("--append", default="", metavar="ARGS", help="Add to the kernel's command line."),
        click.option("--initrd", type=EXISTING, help="Boot with this initrd instead of labkit's."),
        click.option("--firmware", type=EXISTING, help="Boot this TDVF instead of the distribution's."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def emit(result: Printable, as_json: bool) -> None:
    """Print a result as JSON or as text."""
    click.echo(json.dumps(result.to_dict(), indent=2) if as_json else str(result))


def note(text: str) -> None:
    """Say something about progress, on standard error."""
    click.echo(text, err=True)


def read_input(path: Path, limit: int = 256 << 20) -> bytes:
    """The bytes of an input file.

    Raises:
        UsageError: there is no such file, it is not a regular one, or it has more than ``limit`` bytes.
    """
    return read_named(path, limit)
