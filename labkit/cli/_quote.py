"""``labkit quote``: read and verify TDX quotes."""

from __future__ import annotations

from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from labkit.attest import Collateral, parse_collateral, parse_quote, parse_tdreport, verify_quote
from labkit.attest.policy import TCB_STATUSES
from labkit.attest.replies import collateral_of_replies
from labkit.attest.wrapped import unwrap_quote, unwrap_report
from labkit.cli._common import Whole, emit, json_option, read_input
from labkit.cli._lazy import Group
from labkit.errors import DataError, MalformedEvidence, UsageError
from labkit.files import entries, read_below

_PATH = click.Path(path_type=Path)
_LARGEST = 4 << 20
_MOST_REPLIES = 64


@click.group("quote", cls=Group)
def command() -> None:
    """Read and verify TDX quotes, offline.

    Example: labkit quote inspect quote.bin
    """


@command.command("inspect")
@click.argument("file", type=_PATH)
@json_option
def inspect(file: Path, as_json: bool) -> None:
    """Read the quote in FILE strictly and show every field; nothing is verified.

    FILE may be binary, hexadecimal, base64, or a JSON document with a quote in it, such as dstack's; a
    TDREPORT is shown as what it is.

    Example: labkit quote inspect quote.bin --json
    """
    data = read_input(file, _LARGEST)
    try:
        emit(parse_quote(unwrap_quote(data)), as_json)
    except MalformedEvidence:
        if (report := unwrap_report(data)) is None:
            raise
        emit(parse_tdreport(report), as_json)


@command.command("verify")
@click.argument("file", type=_PATH)
@click.option("--collateral", type=_PATH, help="Collateral as JSON.")
@click.option(
    "--collateral-dir", type=_PATH, help="A folder with the replies of Intel's service, as they were saved."
)
@click.option(
    "--now",
    type=Whole(),
    metavar="SECONDS",
    required=True,
    help="The time to verify for, seconds since 1970.",
)
@click.option("--root-ca", type=_PATH, help="Trust this root certificate (DER or PEM) instead of Intel's.")
@click.option(
    "--accept",
    metavar="STATUS,…",
    multiple=True,
    help=f"TCB statuses that count as good besides UpToDate: {', '.join(TCB_STATUSES[1:])}.",
)
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    file: Path,
    collateral: Path | None,
    collateral_dir: Path | None,
    now: int,
    root_ca: Path | None,
    accept: tuple[str, ...],
    as_json: bool,
) -> None:
    """Verify the quote in FILE with the given collateral, for the given time.

    The first word of the output tells the outcome: VERIFIED, NOT ACCEPTED (verified, but the platform's TCB
    status is not UpToDate or one of --accept), or REFUSED. Exits with 0 when verified and accepted, 1 when
    refused or not accepted, 65 when malformed. Only under Intel's own root is the trust that of hardware.

    Example: labkit quote verify quote.bin --collateral collateral.json --now 1751624191
    """
    root = _certificate(read_input(root_ca, _LARGEST)) if root_ca else None
    statuses = _statuses(accept)
    quote = unwrap_quote(read_input(file, _LARGEST))
    result = verify_quote(quote, _collateral(quote, collateral, collateral_dir), now, root, accept=statuses)
    emit(result, as_json)
    ctx.exit(0 if result.accepted else 1)


def _statuses(words: tuple[str, ...]) -> tuple[str, ...]:
    found = [word.strip() for text in words for word in text.split(",") if word.strip()]
    for word in found:
        if word not in TCB_STATUSES:
            raise UsageError(
                f"{word!r} is not a TCB status that could be accepted.",
                f"There are: {', '.join(TCB_STATUSES)}.",
            )
    return tuple(dict.fromkeys(["UpToDate", *found]))


def _collateral(quote: bytes, file: Path | None, folder: Path | None) -> Collateral:
    if (file is None) is (folder is None):
        raise UsageError(
            "The quote cannot be verified without collateral, given in one way.",
            "Name --collateral FILE or --collateral-dir DIR.",
        )
    if file is not None:
        return parse_collateral(read_input(file, _LARGEST))
    assert folder is not None
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.", "Name the folder with Intel's replies.")
    names = [entry.name for entry in entries(folder) if not entry.kind and "/" not in entry.name]
    if len(names) > _MOST_REPLIES:
        raise DataError(f"{folder} holds {len(names)} files, too many for replies.", "Name their own folder.")
    replies = {name: read_below(folder, name, _LARGEST) for name in names}
    return collateral_of_replies(replies, parse_quote(quote).chain)


def _certificate(data: bytes) -> bytes:
    if not data.lstrip().startswith(b"-----BEGIN"):
        return data
    try:
        return x509.load_pem_x509_certificate(data).public_bytes(Encoding.DER)
    except (ValueError, x509.InvalidVersion) as error:
        raise UsageError(
            f"The root is not a certificate: {error}.", "Give one certificate, DER or PEM."
        ) from error
