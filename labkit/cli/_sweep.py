"""``labkit sweep``: one notebook, many rows of parameters, one table of results."""

from __future__ import annotations

from pathlib import Path

import click

from labkit.cli._common import Whole, emit, json_option, note, seconds_option
from labkit.errors import ChapterFailed


@click.command("sweep", epilog="Example: labkit sweep 03-boot-the-tdvm --over sizes.csv -j 2")
@click.argument("notebook", metavar="NOTEBOOK")
@click.option(
    "--over",
    "table",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.csv",
    help="A row for each run; the first line names the notebook's parameters.",
)
@click.option(
    "-p",
    "axes",
    nargs=2,
    multiple=True,
    metavar="NAME A,B,C",
    help="Values of a parameter; every combination is run.",
)
@click.option("-j", "jobs", type=Whole(1, 512), metavar="N", help="Worker processes on this machine.")
@click.option(
    "--scheduler", metavar="ADDRESS", help="The address of a Dask scheduler, such as tcp://head:8786."
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="The sweep's folder; an earlier sweep there goes on."
)
@seconds_option("--timeout", 600.0, "a cell")
@seconds_option("--deadline", 3600.0, "a row")
@click.option("--memory", type=Whole(1), metavar="MIB", help="What the TDVMs of a row need together.")
@click.option("--retry", is_flag=True, help="Run rows that failed earlier once more.")
@json_option
def command(
    notebook: str,
    table: Path | None,
    axes: tuple[tuple[str, str], ...],
    jobs: int | None,
    scheduler: str | None,
    output: Path | None,
    timeout: float,
    deadline: float,
    memory: int | None,
    retry: bool,
    as_json: bool,
) -> None:
    """Run NOTEBOOK once for each row of a table, each row in a process of its own, and collect the results.

    Rows that were finished before are not run again: after an interruption, or a crash of a worker, of the
    scheduler or of this command, the same command goes on. `results.csv` in the sweep's folder has one line
    for each row: the parameters, `status` (passed or failed), and what the notebook recorded with
    `lab.record(name, value)`.
    """
    from labkit.studies import SweepOptions, publish_sweep, sweep
    from labkit.studies import plan as plan_sweep

    design, folder = plan_sweep(notebook, table, axes, output)
    options = SweepOptions(jobs, scheduler, timeout, deadline, memory, retry)
    results = publish_sweep(sweep(design, folder, options, note))
    emit(results, as_json)
    if results.failed:
        raise ChapterFailed(
            f"{results.failed} of {len(design.rows)} rows failed.",
            f"`labkit sweep … --retry` runs them again; their notebooks are in {results.directory / 'rows'}.",
        )
