"""``labkit stop``: end what ``labkit ps`` lists."""

from __future__ import annotations

import contextlib
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
    """Stop what has this ID in `labkit ps`, or everything; the program that started it sees that it ended.

    Example: labkit stop --all
    """
    from labkit.cli.running import running_jobs
    from labkit.vm.rundir import running, stop

    if (run_id is None) != everything:
        raise UsageError("Say what to stop.", "Give one ID of `labkit ps`, or --all.")
    settings = Settings.load()
    machines = [vm for vm in running(settings) if run_id in (None, vm.id)]
    jobs = [job for job in running_jobs(settings) if run_id in (None, job.id)]
    if run_id is not None and not machines and not jobs:
        raise UsageError(
            f"No TDVM {run_id} is running, nor anything else of that name.", "`labkit ps` lists what runs."
        )
    # Those that start TDVMs come first.
    for job in jobs:
        job.stop()
    for vm in machines:
        # A kernel that was stopped has ended its own meanwhile.
        with contextlib.suppress(UsageError):
            stop(settings, vm.id)
    if as_json:
        ended = [{"kind": "tdvm", **vm.to_dict()} for vm in machines] + [job.to_dict() for job in jobs]
        click.echo(json.dumps(ended, indent=2))
    else:
        names = [*(job.id for job in jobs), *(vm.id for vm in machines)]
        click.echo("\n".join(f"stopped {name}" for name in names) or "Nothing is running.")
