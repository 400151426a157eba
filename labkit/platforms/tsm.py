"""The guest-side reader of hardware evidence: configfs-tsm and the CCEL, through the guest's shell.

Source: Documentation/ABI/testing/configfs-tsm-report of Linux (6.7 and later). It has not met TDX hardware
yet: here it is known to refuse a guest without the interface, and to read one that imitates it.
"""

from __future__ import annotations

import base64
import re
import secrets
from dataclasses import dataclass

from labkit import process
from labkit.attest import Collateral
from labkit.console import CommandResult
from labkit.errors import MissingComponent, VmError
from labkit.platforms.evidence import REPORT_DATA, Evidence, Run, check_nonce, evidence_of

_REPORTS = "/sys/kernel/config/tsm/report"
_CCEL = "/sys/firmware/acpi/tables/data/CCEL"
_DEVICE = "/dev/tdx_guest"
_REPORT_ONLY = 68
_ABSENT = 69
_REFUSED = 70
_QUOTE_LIMIT = 1 << 16


@dataclass(frozen=True)
class TsmReport:
    """What configfs-tsm gave: the quote as it came, who provides it, and the CCEL (empty without one)."""

    quote: bytes
    provider: str
    ccel: bytes


def read_tsm(run: Run, nonce: bytes, reports: str = _REPORTS, ccel: str = _CCEL) -> TsmReport:
    """Ask the guest's kernel for a quote about ``nonce`` (at most 64 bytes, filled up with zeros).

    reports, ccel: where the interfaces are in the guest.

    Raises:
        UsageError: the nonce has more than 64 bytes.
        MissingComponent: the guest has no configfs-tsm of a TD.
        VmError: the kernel gave no quote, or somebody else asked at the same time.
    """
    check_nonce(nonce)
    escaped = "".join(f"\\x{byte:02x}" for byte in nonce.ljust(REPORT_DATA, b"\0"))
    entry = f"{reports}/labkit-{secrets.token_hex(4)}"
    # A subshell, so that neither ``exit`` nor ``trap`` is the shell's own. ``generation`` counts the writes:
    # more than ours means that the quote is about somebody else's nonce.
    result = run(
        f"([ -d {reports} ] || {{ [ -c {_DEVICE} ] && exit {_REPORT_ONLY}; exit {_ABSENT}; }}\n"
        f"mkdir {entry} || exit {_REFUSED}\n"
        f"trap 'rmdir {entry}' EXIT\n"
        f"read -r before < {entry}/generation\n"
        f"printf '{escaped}' > {entry}/inblob || exit {_REFUSED}\n"
        f"quote=$(base64 {entry}/outblob) || exit {_REFUSED}\n"
        f"read -r after < {entry}/generation\n"
        f"read -r provider < {entry}/provider\n"
        'echo "$provider $((after - before))"\n'
        'echo "$quote"\n'
        f"echo ccel\n[ ! -r {ccel} ] || base64 {ccel})"
    )
    if result.exit_status == _REPORT_ONLY:
        raise MissingComponent(
            f"This TD has {_DEVICE} alone, whose report no other machine can verify.",
            "Mount configfs at /sys/kernel/config, or boot Linux 6.7 or later.",
        )
    if result.exit_status == _ABSENT:
        raise MissingComponent(
            "This guest has no configfs-tsm, so that no TDX module can quote it.",
            "Quote a TD on TDX hardware with Linux 6.7 or later; on the emulated platform use labkit attest.",
        )
    head, _, rest = result.output.partition("\n")
    quote, _, log = rest.partition("ccel\n")
    found = re.fullmatch(r"([\w-]{1,40}) (\d{1,10})", head.strip())
    if result.exit_status != 0 or found is None:
        raise VmError("The guest's kernel gave no quote.", "See its kernel log: is a quoting service there?")
    if found[1] != "tdx_guest":
        raise MissingComponent(f"The guest's quotes come from {found[1]}, not from TDX.", "Use a TD.")
    if found[2] != "1":
        raise VmError("Somebody else asked for a quote at the same time.", "Ask again.")
    return TsmReport(_decoded(quote, "quote", _QUOTE_LIMIT), found[1], _decoded(log, "CCEL", 1 << 22))


def hardware_evidence(
    run: Run, nonce: bytes, collateral: Collateral | None, reports: str = _REPORTS, ccel: str = _CCEL
) -> Evidence:
    """Evidence of the TD that ``run`` reaches: its quote about ``nonce``, and its CCEL.

    A quote that a lab authority made is marked as such, wherever it comes from.

    Raises:
        As `read_tsm`; MalformedEvidence: the quote does not parse.
    """
    found = read_tsm(run, nonce, reports, ccel)
    return evidence_of(found.quote, found.ccel, collateral)


def run_here(command: str) -> CommandResult:
    """Run a command in a shell on this machine, as a guest's console runs it: for a labkit inside a TD."""
    done = process.run(["sh", "-c", command])
    return CommandResult(command, done.status, done.stdout, 0.0)


def _decoded(text: str, what: str, limit: int) -> bytes:
    damaged = VmError(f"The guest's {what} is damaged.", "Ask again.")
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise damaged from None
    if len(data) > limit or (what == "quote" and not data):
        raise damaged
    return data
