"""``labkit attest``: boot a TDVM, take its evidence, verify it, and appraise it against the prediction."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labkit.cli._common import EXISTING, boot_options, emit, json_option, note, read_input
from labkit.errors import UsageError
from labkit.settings import Settings, Trust
from labkit.show import stamp

if TYPE_CHECKING:
    from labkit.attest import Policy
    from labkit.platforms import Attestation, BootRequest

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("attest")
@click.option("--report-data", metavar="HEX", help="Up to 64 bytes to be quoted; a fresh nonce by default.")
@boot_options
@click.option(
    "--guest",
    metavar="linux|asterinas[:VERSION]",
    default="linux",
    show_default=True,
    help="What is expected to boot.",
)
@click.option(
    "--loader/--no-loader",
    default=None,
    help="Through a boot loader that measures; the default for Asterinas, which needs it.",
)
@click.option("--kernel", type=EXISTING, help="Boot this bzImage instead of labkit's.")
@click.option("--debug-td", is_flag=True, help="As if the TD had been built for debugging.")
@click.option(
    "--evidence", type=_FOLDER, help="Judge the evidence in this run directory instead of booting anything."
)
@click.option("--collateral", type=_FILE, help="Collateral (JSON) for evidence of TDX hardware.")
@click.option(
    "--policy", "policy_file", type=_FILE, help="Appraise by this policy instead of the prediction."
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    report_data: str | None,
    platform: str,
    guest: str,
    loader: bool | None,
    memory: int | None,
    smp: int,
    append: str,
    kernel: Path | None,
    initrd: Path | None,
    firmware: Path | None,
    debug_td: bool,
    evidence: Path | None,
    collateral: Path | None,
    policy_file: Path | None,
    as_json: bool,
) -> None:
    """Boot a TDVM, take evidence about a nonce from it, verify and appraise it.

    labkit predicts what its own boot of this guest with this memory must measure. Another command line,
    kernel, initrd or firmware is rejected, with the register and the first event that differs. Asterinas
    boots through a boot loader, GRUB, that measures what Asterinas does not. Old evidence is rejected
    because of its nonce, unless --report-data gives that nonce. With --platform hardware, labkit attests the
    TD that it runs in, by a policy. Exits with 0 when accepted, 1 when not.

    Example: labkit attest --append debug
    """
    from labkit.attest import load_policy
    from labkit.platforms.evidence import check_nonce
    from labkit.platforms.request import BootRequest, measured_through_loader

    demanded = load_policy(policy_file) if policy_file else None
    nonce = _nonce(report_data, demanded)
    check_nonce(nonce)
    through = measured_through_loader(guest) if loader is None else loader
    expected = BootRequest(memory, smp=smp, guest=guest, loader=through)
    request = replace(expected, append=append, kernel=kernel, initrd=initrd, firmware=firmware)
    if evidence or platform == "hardware":
        if request != expected or debug_td:
            raise UsageError("Nothing is booted here.", "Leave out what describes a boot.")
        outcome = _shown(evidence, collateral, nonce, partial(_policy, demanded, platform, expected, nonce))
    elif collateral:
        raise UsageError("The emulated platform makes its collateral itself.", "Leave out --collateral.")
    else:
        policy = _policy(demanded, platform, expected, nonce, Trust.NONE)
        outcome = _booted(platform, request, nonce, policy, debug_td)
    emit(outcome, as_json)
    context.exit(0 if outcome.accepted else 1)


def _nonce(report_data: str | None, demanded: Policy | None) -> bytes:
    """What is to be quoted: the command line's report data, the policy's, or a fresh nonce.

    Raises:
        UsageError: command line and policy want two different values.
    """
    from labkit.platforms import fresh_nonce
    from labkit.platforms.evidence import REPORT_DATA

    wanted = demanded.report_data if demanded else None
    if report_data is None:
        return wanted if wanted is not None else fresh_nonce()
    nonce = _bytes(report_data)
    if wanted is not None and nonce.ljust(REPORT_DATA, b"\0") != wanted:
        raise UsageError(
            f"The policy demands other report data ({wanted.hex()}) than --report-data gives.",
            "Leave one of the two out.",
        )
    return nonce


def _policy(
    demanded: Policy | None, platform: str, expected: BootRequest, nonce: bytes, claimed: Trust
) -> Policy:
    """The policy that was given, or the prediction; for hardware there is none, which the outcome says."""
    from labkit.attest import Policy
    from labkit.platforms import choose_platform
    from labkit.platforms.attestation import emulated_policy
    from labkit.platforms.evidence import REPORT_DATA

    filled = nonce.ljust(REPORT_DATA, b"\0")
    if demanded:
        return replace(demanded, report_data=filled)
    if claimed is Trust.HARDWARE or platform == "hardware":
        return Policy(report_data=filled)
    return emulated_policy(choose_platform(platform, Settings.load()).predict(expected), nonce)


def _booted(platform: str, request: BootRequest, nonce: bytes, policy: Policy, debug: bool) -> Attestation:
    from labkit.platforms import choose_platform

    chosen = choose_platform(platform, Settings.load())
    with chosen.boot(request, note) as tdvm:
        return chosen.attest(tdvm, nonce, policy, debug=debug)


def _shown(
    folder: Path | None, collateral: Path | None, nonce: bytes, policy_for: Callable[[Trust], Policy]
) -> Attestation:
    """Judge evidence that lies in a folder, or that the TD around us gives and that is kept in one."""
    from labkit.attest import LabAuthority, parse_collateral
    from labkit.attest.reasons import OF_TIME
    from labkit.platforms.attestation import attest_evidence
    from labkit.platforms.evidence import load_evidence
    from labkit.platforms.tsm import hardware_evidence, run_here

    settings, now = Settings.load(), int(time.time())
    given = parse_collateral(read_input(collateral)) if collateral else None
    if folder:
        root = LabAuthority.open(settings.state_dir, now).root_der
        evidence, why = load_evidence(folder, root, given), f"the evidence lies in {folder}"
    else:
        evidence, why = hardware_evidence(run_here, nonce, given), "the TD that labkit runs in was asked"
        folder = evidence.keep(settings.state_dir / "evidence", now)
        note(f"to judge it again: labkit attest --evidence {folder} --report-data {nonce.hex()}")
    outcome = attest_evidence(evidence, policy_for(evidence.trust), now, folder, "", "")
    if outcome.verdict.reason in OF_TIME:
        moment = datetime.fromtimestamp(now, UTC).isoformat(" ", "seconds")
        note(
            f"It is verified for the time of this machine's clock, {moment}: if that is wrong, set the clock."
        )
    shown = outcome.appraisal.shown_trust
    # By the root that the quote names: a refused quote has no trust, whatever its platform.
    platform = "emulated" if shown is Trust.NONE else "hardware"
    headline = f"{stamp(shown)}platform {platform}: {why}"
    return replace(outcome, platform=platform, headline=headline)


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise UsageError("The report data is not hexadecimal.", "Give pairs of digits 0-9 and a-f.") from None
