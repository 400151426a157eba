"""``labkit attest``: boot a TDVM, take its evidence, verify it, and appraise it against the prediction."""

from __future__ import annotations

import time
from pathlib import Path

import click

from labkit.cli._common import emit, json_option, note
from labkit.errors import UsageError
from labkit.settings import Settings

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("attest")
@click.option("--report-data", metavar="HEX", help="Up to 64 bytes to be quoted; a fresh nonce by default.")
@click.option(
    "--platform", type=click.Choice(["auto", "hardware", "emulated"]), default="auto", show_default=True
)
@click.option("--memory", type=int, metavar="MIB", help="The guest's memory.")
@click.option("--append", default="", metavar="ARGS", help="Add to the kernel's command line.")
@click.option("--kernel", type=_FILE, help="Boot this bzImage instead of labkit's.")
@click.option("--initrd", type=_FILE, help="Boot with this initrd instead of labkit's.")
@click.option("--firmware", type=_FILE, help="Boot this TDVF instead of the distribution's.")
@click.option("--debug-td", is_flag=True, help="As if the TD had been built for debugging.")
@click.option(
    "--policy", "policy_file", type=_FILE, help="Appraise by this policy instead of the prediction."
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    report_data: str | None,
    platform: str,
    memory: int | None,
    append: str,
    kernel: Path | None,
    initrd: Path | None,
    firmware: Path | None,
    debug_td: bool,
    policy_file: Path | None,
    as_json: bool,
) -> None:
    """Boot a TDVM, take evidence about a nonce from it, verify and appraise it.

    Expected is what labkit predicts for labkit's own boot with this memory: another command line, kernel,
    initrd or firmware is rejected, with the register and the first differing event. Exits with 0 when
    accepted, 1 when not.

    Example: labkit attest --append debug
    """
    from dataclasses import replace

    from labkit.attest import LabAuthority, load_policy
    from labkit.platforms import (
        DEFAULT_MEMORY,
        REPORT_DATA,
        BootRequest,
        attest_tdvm,
        check_nonce,
        choose_platform,
        emulated_policy,
        fresh_nonce,
    )

    nonce = _bytes(report_data) if report_data is not None else fresh_nonce()
    check_nonce(nonce)
    settings = Settings.load()
    chosen = choose_platform(platform, settings)
    expected = BootRequest(memory or DEFAULT_MEMORY)
    request = replace(expected, append=append, kernel=kernel, initrd=initrd, firmware=firmware)
    if policy_file:
        policy = replace(load_policy(policy_file), report_data=nonce.ljust(REPORT_DATA, b"\0"))
    else:
        policy = emulated_policy(chosen.predict(expected), nonce)
    now = int(time.time())
    authority = LabAuthority.open(settings.state_dir, now)
    others = {} if request == expected else {"what was asked for": chosen.predict(request).inputs}
    with chosen.boot(request, note) as tdvm:
        outcome = attest_tdvm(tdvm, policy, nonce, authority, now, debug=debug_td, others=others)
    emit(outcome, as_json)
    context.exit(0 if outcome.accepted else 1)


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise UsageError("The report data is not hexadecimal.", "Give pairs of digits 0-9 and a-f.") from None
