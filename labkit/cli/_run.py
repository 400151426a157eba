"""``labkit run``: the chapters through papermill, then their site."""

from __future__ import annotations

import time
from pathlib import Path

import click

from labkit.cli._common import TARGET, Whole, emit, json_option, seconds_option
from labkit.errors import ChapterFailed
from labkit.runs import publish
from labkit.runs.reports import junit as junit_report
from labkit.runs.reports import next_steps
from labkit.runs.reports import summary as summary_report
from labkit.runs.runner import CELL_TIMEOUT, plan_run, run_plan


@click.command("run", epilog="Example: labkit run 03-boot-the-tdvm -p memory 2048")
@click.argument("notebooks", nargs=-1, metavar="[NOTEBOOK]...")
@click.option(
    "-p", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help="Set a parameter of the notebooks."
)
@click.option(
    "-j",
    "jobs",
    type=Whole(1, 256),
    metavar="N",
    help="Notebooks at a time; by default as many chapters of the course as this machine has room for, and "
    "one of other notebooks.",
)
@click.option("--output", type=click.Path(path_type=Path), help="The run directory; must be new or empty.")
@seconds_option("--timeout", CELL_TIMEOUT, "a cell")
@click.option(
    "--attest", is_flag=True, help="Bind what the run leaves to a quote of a TDVM; see labkit check."
)
@click.option("--junit", type=TARGET, help="Write JUnit's XML for a CI.")
@click.option("--summary", type=TARGET, help="Write a summary in Markdown.")
@click.option(
    "--allow-host",
    is_flag=True,
    help="Let cells that say %%host run on this machine, outside of the TDVM; read them first.",
)
@json_option
def command(
    notebooks: tuple[str, ...],
    parameters: tuple[tuple[str, str], ...],
    jobs: int | None,
    output: Path | None,
    timeout: float,
    attest: bool,
    junit: Path | None,
    summary: Path | None,
    allow_host: bool,
    as_json: bool,
) -> None:
    """Run notebooks through papermill, one process each, and publish them as a site.

    NOTEBOOK is a path or the name of a chapter; without any, the guided chapters run.
    A chapter that fails keeps its partial notebook, and the chapters after it still run.

    A notebook runs code on this machine, with your rights: run one that somebody sent only after reading it.
    """
    plan = plan_run(
        notebooks, dict(parameters), output=output, timeout=timeout, allow_host=allow_host, jobs=jobs
    )
    if attest:
        from labkit.attest import LabAuthority
        from labkit.settings import Settings

        settings = Settings.load()
        # What keeps the run from being attested, such as a wrong clock, is said before it runs.
        authority = LabAuthority.open(settings.state_dir, int(time.time()))
    run = publish(run_plan(plan, on_progress=lambda text: click.echo(text, err=True, nl=False)))
    if attest:
        from labkit.platforms import choose_platform
        from labkit.runs import attest_run

        run = attest_run(run, choose_platform("auto", settings), authority, int(time.time()))
    if junit:
        junit.write_text(junit_report(run), encoding="utf-8")
    if summary:
        summary.write_text(summary_report(run), encoding="utf-8")
    emit(run, as_json)
    if not as_json and run.index:
        click.echo(next_steps(run.index, Path.cwd()), err=True)
    if run.failed:
        names = ", ".join(chapter.name for chapter in run.failed)
        raise ChapterFailed(
            f"{len(run.failed)} of {len(run.chapters)} chapters failed: {names}.",
            f"Their partial notebooks are in {run.directory / 'executed'}.",
        )
