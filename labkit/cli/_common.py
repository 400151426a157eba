"""What the verbs share: ``--json``, the options of a boot, and one way to print a result."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

import click

from labkit.errors import StorageError, UsageError
from labkit.files import printable, read_named
from labkit.settings import check_seconds


class Existing(click.Path):
    """The type of an option that names what must be there; what is out of sight is not called missing."""

    def __init__(self, **words: Any) -> None:
        super().__init__(exists=True, path_type=Path, **words)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            Path(value).stat()
        except PermissionError:
            shown = click.format_filename(value)
            self.fail(f"{shown!r} cannot be looked at: a folder on its way is closed to you.", param, ctx)
        except (OSError, ValueError):
            pass  # click finds words for the others
        return super().convert(value, param, ctx)


EXISTING = Existing(dir_okay=False)
"""The type of an option that names a file which must be there."""


class _Target(click.Path):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = cast(Path, super().convert(value, param, ctx))
        if not path.parent.is_dir():
            raise StorageError(
                f"There is no folder {printable(path.parent)}.", "Make it, or name another file."
            )
        if not os.access(path if os.access(path, os.F_OK) else path.parent, os.W_OK):
            raise StorageError(f"You may not write {printable(path)}.", "Name another file.")
        return path


TARGET = _Target(dir_okay=False, readable=False, path_type=Path)
"""The type of an option that names a file which is written last: what is in its way is said first."""


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


def seconds_option(name: str, default: float, what: str) -> Callable[..., Any]:
    """An option for the seconds that ``what`` may take."""
    text = f"Seconds that {what} may take."
    return click.option(name, type=SECONDS, metavar="SECONDS", default=default, show_default=True, help=text)


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
