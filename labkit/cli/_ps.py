"""``labkit ps``: the TDVMs that this user's labkit runs."""

from __future__ import annotations

import json
import time

import click

from labkit.cli._common import json_option
from labkit.settings import Settings
from labkit.show import columns


@click.command()
@json_option
def command(as_json: bool) -> None:
    """List the TDVMs that this user's labkit runs.

    Example: labkit ps
    """
    from labkit.vm import running

    machines = running(Settings.load())
    if as_json:
        click.echo(json.dumps([vm.to_dict() for vm in machines], indent=2))
        return
    if not machines:
        click.echo("No TDVM is running.")
        return
    head = ("ID", "ACCELERATOR", "MEMORY", "RUNNING FOR", "IDLE FOR", "OWNER PID")
    rows = [
        (
            vm.id,
            vm.accelerator,
            f"{vm.memory} MiB",
            f"{time.time() - vm.started:.0f} s",
            f"{vm.idle:.0f} s",
            vm.owner_pid,
        )
        for vm in machines
    ]
    click.echo(columns([head, *rows]))
