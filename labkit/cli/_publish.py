"""``labkit publish``: the site of a run."""

from __future__ import annotations

from pathlib import Path

import click

from labkit.cli._common import emit, json_option
from labkit.runs import publish, read_record


@click.command("publish", epilog="Example: labkit publish runs/20260102T030405Z")
@click.argument("run_dir", type=click.Path(path_type=Path))
@json_option
def command(run_dir: Path, as_json: bool) -> None:
    """Make the HTML site of a run again from its record and its executed notebooks.

    The site is RUN_DIR/site; it needs neither a server nor the network.
    """
    emit(publish(read_record(run_dir)), as_json)
