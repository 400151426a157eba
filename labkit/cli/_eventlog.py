"""``labkit eventlog``: the events of a measured boot and the registers they lead to."""

from __future__ import annotations

from pathlib import Path

import click

from labkit.cli._common import emit, json_option, read_input
from labkit.measure import parse_log
from labkit.measure.event_log import LogFormat
from labkit.measure.replay import report_log

_PATH = click.Path(path_type=Path)
_LARGEST_LOG, _LARGEST_QUOTE = 64 << 20, 4 << 20


@click.command("eventlog")
@click.argument("file", type=_PATH)
@click.option("--format", "kind", type=click.Choice([kind.value for kind in LogFormat]), help="Do not guess.")
@click.option("--quote", type=_PATH, help="Compare with the registers of the quote in this file.")
@json_option
@click.pass_context
def command(ctx: click.Context, file: Path, kind: str | None, quote: Path | None, as_json: bool) -> None:
    """Parse the TCG or CCEL event log in FILE and replay it into RTMR0-3.

    FILE may be binary, hexadecimal, base64, or JSON as dstack writes it. With --quote the replayed registers
    are compared with those of a quote, which is not verified: exits with 0 when equal, 1 when not. RTMR3 is
    compared if the log has entries of it; otherwise it was extended at run time, after the firmware's log.

    Example: labkit eventlog /sys/kernel/security/tpm0/binary_bios_measurements --json
    """
    report = report_log(parse_log(read_input(file, _LARGEST_LOG), kind))
    if quote is None:
        emit(report, as_json)
        return
    # Loaded here: a log alone needs no cryptography.
    from labkit.attest import compare_log, parse_quote
    from labkit.attest.wrapped import unwrap_quote

    outcome = compare_log(report, parse_quote(unwrap_quote(read_input(quote, _LARGEST_QUOTE))))
    emit(outcome, as_json)
    ctx.exit(0 if outcome.equal else 1)
