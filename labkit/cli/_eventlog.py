"""``labkit eventlog``: the events of a measured boot and the registers they lead to."""

from __future__ import annotations

from pathlib import Path

import click

from labkit.cli._common import emit, json_option, read_input
from labkit.measure import LogFormat, parse_log, report_log


@click.command("eventlog")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", "kind", type=click.Choice([kind.value for kind in LogFormat]), help="Do not guess.")
@json_option
def command(file: Path, kind: str | None, as_json: bool) -> None:
    """Parse the TCG or CCEL event log in FILE and replay it into RTMR0-3.

    Example: labkit eventlog /sys/kernel/security/tpm0/binary_bios_measurements --json
    """
    emit(report_log(parse_log(read_input(file), kind)), as_json)
