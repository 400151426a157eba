"""``labkit publish``: the site of a run."""

from __future__ import annotations

from pathlib import Path

import click

from labkit.cli._common import emit, json_option, note
from labkit.errors import UsageError
from labkit.runs import publish
from labkit.runs.record import read_record
from labkit.settings import Settings


@click.command("publish", epilog="Example: labkit publish runs/20260102T030405Z")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--live", is_flag=True, help="Let the chapters that need no machine run in the reader's browser."
)
@json_option
def command(run_dir: Path, live: bool, as_json: bool) -> None:
    """Make the HTML site of a run, or of a sweep, again from its record and its executed notebooks.

    The site is RUN_DIR/site; it needs neither a server nor the network. With --live it has scripts as well,
    and its live chapters need a web server: python -m http.server -d RUN_DIR/site.
    """
    from labkit.studies.folder import holds_sweep

    if holds_sweep(run_dir):
        from labkit.studies import publish_sweep, read_sweep

        if live:
            raise UsageError("A sweep has no chapters that run in a browser.", "Publish it without --live.")
        emit(publish_sweep(read_sweep(run_dir)), as_json)
        return
    run = publish(read_record(run_dir))
    if live:
        from labkit.live import make_live

        make_live(run, Settings.load(), note)
    emit(run, as_json)
