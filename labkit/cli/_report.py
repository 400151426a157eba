"""``labkit report``: one redacted bundle to attach to a bug report."""

from __future__ import annotations

import time
from pathlib import Path

import click

from labkit.cli._common import emit, json_option
from labkit.settings import Settings


@click.command("report", epilog="Example: labkit report --output report.tar.gz")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="The bundle; must not be there yet."
)
@json_option
def command(output: Path | None, as_json: bool) -> None:
    """Write one bundle that tells what this host is and how the last TDVM went, and say what is in it.

    Names, addresses, UUIDs and serial numbers are taken out. Nothing is sent anywhere.
    """
    from labkit.fleet.bug_report import make_bundle

    path = output or Path(time.strftime("labkit-report-%Y%m%d-%H%M%S.tar.gz", time.gmtime()))
    emit(make_bundle(path, Settings.load()), as_json)
