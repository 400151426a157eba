"""What the verbs share: the ``--json`` option, and one way to print a result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import click

from labkit.files import read_named


class Printable(Protocol):
    """Anything a verb prints: ``str`` for people, ``to_dict`` for programs."""

    def to_dict(self) -> dict[str, Any]: ...


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json``: one JSON document on standard output, nothing else there."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


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
