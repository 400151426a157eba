"""``labkit check``: is this run directory what was attested?"""

from __future__ import annotations

from pathlib import Path

import click

from labkit.cli._common import Whole, emit, json_option, read_input
from labkit.runs import check_run


@click.command("check", epilog="Example: labkit check runs/20260102T030405Z --root-ca root.der")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--root-ca",
    type=click.Path(path_type=Path),
    help="Believe this root certificate (DER) alone; by default the one in the directory.",
)
@click.option(
    "--now",
    type=Whole(),
    metavar="SECONDS",
    help="The time to verify for, seconds since 1970; by default the run's own.",
)
@json_option
@click.pass_context
def command(
    context: click.Context, run_dir: Path, root_ca: Path | None, now: int | None, as_json: bool
) -> None:
    """Check an attested run offline, from RUN_DIR alone: every file, the statement, the quote.

    Exits with 0 when intact, 1 when not; what is not as attested is named.
    """
    outcome = check_run(run_dir, read_input(root_ca, 1 << 20) if root_ca else None, now)
    emit(outcome, as_json)
    context.exit(0 if outcome.intact else 1)
