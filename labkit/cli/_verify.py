"""``labkit verify``: can this machine be a TDX host, and if not, what is the one thing to fix?"""

from __future__ import annotations

from pathlib import Path

import click

from labkit.cli._common import emit, json_option
from labkit.host import verify


@click.command("verify")
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("/"),
    help="Read another file tree as /.",
)
@click.option(
    "--kernel-log", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Use this kernel log."
)
@json_option
@click.pass_context
def command(context: click.Context, root: Path, kernel_log: Path | None, as_json: bool) -> None:
    """Verify that this machine can host TDs, and name the one thing to fix.

    Example: labkit verify --json
    """
    report = verify(root, kernel_log)
    emit(report, as_json)
    context.exit(report.verdict.exit_code)
