"""``labkit stop``: end TDVMs that this user's labkit runs."""

from __future__ import annotations

import json

import click

from labkit.cli._common import json_option
from labkit.errors import UsageError
from labkit.settings import Settings


@click.command()
@click.argument("run_id", metavar="[ID]", required=False)
@click.option("--all", "everything", is_flag=True, help="Stop all of them.")
@json_option
def command(run_id: str | None, everything: bool, as_json: bool) -> None:
    """Stop the TDVM ID, or all of them; whoever booted it sees a guest that went away.

    Example: labkit stop --all
    """
    from labkit.vm import stop

    if (run_id is None) != everything:
        raise UsageError("Say which TDVM to stop.", "Give one ID of `labkit ps`, or --all.")
    stopped = stop(Settings.load(), run_id)
    if as_json:
        click.echo(json.dumps([vm.to_dict() for vm in stopped], indent=2))
    else:
        click.echo("\n".join(f"stopped {vm.id}" for vm in stopped) or "No TDVM is running.")
