"""``labkit refresh``: execute committed notebooks in place."""

from __future__ import annotations

import json
from pathlib import Path

import click

from labkit.cli._common import EXISTING, json_option, seconds_option
from labkit.runs.refreshing import read_patterns, refresh
from labkit.runs.runner import CELL_TIMEOUT
from labkit.runs.source import find_notebooks, repository


@click.command("refresh", epilog="Example: labkit refresh 03-boot-the-tdvm")
@click.argument("notebooks", nargs=-1, metavar="[NOTEBOOK]...")
@click.option(
    "--sanitize",
    type=EXISTING,
    help="An nbval sanitize file  [default: tests/notebooks/sanitize.cfg of the repository]",
)
@seconds_option("--timeout", CELL_TIMEOUT, "a cell")
@json_option
def command(notebooks: tuple[str, ...], sanitize: Path | None, timeout: float, as_json: bool) -> None:
    """Execute committed notebooks in place; a file changes only where a result did.

    NOTEBOOK is a path or the name of a chapter; without any, all guided chapters.
    """
    here = Path.cwd()
    file = sanitize or (repository(here) or here) / "tests" / "notebooks" / "sanitize.cfg"
    patterns = read_patterns(file.read_text(encoding="utf-8")) if file.is_file() else ()
    done = []
    for path in find_notebooks(notebooks, here):
        done.append(refresh(path, patterns, timeout=timeout))
        if not as_json:
            click.echo(str(done[-1]))
    if as_json:
        click.echo(json.dumps({"notebooks": [item.to_dict() for item in done]}, indent=2))
