"""``labkit ps``: what this user's labkit runs: TDVMs, kernels, sweeps and containers."""

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
    """List what this user's labkit runs: TDVMs, kernels, sweeps and containers.

    Example: labkit ps
    """
    from labkit.cli.running import running_jobs
    from labkit.vm.rundir import running

    settings = Settings.load()
    machines, jobs = running(settings), running_jobs(settings)
    if as_json:
        listed = [{"kind": "tdvm", **vm.to_dict()} for vm in machines] + [job.to_dict() for job in jobs]
        click.echo(json.dumps(listed, indent=2))
        return
    if not machines and not jobs:
        click.echo("Nothing is running.")
        return
    now = time.time()
    rows = [
        (
            vm.id,
            "tdvm",
            _running_for(now, vm.started),
            vm.owner_pid,
            _about(vm.accelerator, vm.memory, vm.idle),
        )
        for vm in machines
    ]
    rows += [(job.id, job.kind, _running_for(now, job.started), job.pid, job.what) for job in jobs]
    click.echo(columns([("ID", "KIND", "RUNNING FOR", "OWNER PID", "WHAT"), *rows]))


def _running_for(now: float, started: float) -> str:
    """Seconds, where the clock was not set back meanwhile."""
    return f"{now - started:.0f} s" if now >= started else "?"


def _about(accelerator: str, memory: int, idle: float) -> str:
    return f"{accelerator}, {memory} MiB, idle for {idle:.0f} s"
