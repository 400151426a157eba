"""``labkit quote``: read and verify TDX quotes."""

from __future__ import annotations

from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from labkit.attest import parse_collateral, parse_quote, verify_quote
from labkit.cli._common import emit, json_option, read_input
from labkit.errors import UsageError

_PATH = click.Path(path_type=Path)


@click.group("quote")
def command() -> None:
    """Read and verify TDX quotes, offline.

    Example: labkit quote inspect quote.bin
    """


@command.command("inspect")
@click.argument("file", type=_PATH)
@json_option
def inspect(file: Path, as_json: bool) -> None:
    """Read the quote in FILE strictly and show every field; nothing is verified.

    Example: labkit quote inspect quote.bin --json
    """
    emit(parse_quote(_quote_bytes(file)), as_json)


@command.command("verify")
@click.argument("file", type=_PATH)
@click.option("--collateral", type=_PATH, required=True, help="Collateral as JSON.")
@click.option("--now", type=int, required=True, help="The time to verify for, seconds since 1970.")
@click.option("--root-ca", type=_PATH, help="Trust this root certificate (DER or PEM) instead of Intel's.")
@json_option
@click.pass_context
def verify(
    ctx: click.Context, file: Path, collateral: Path, now: int, root_ca: Path | None, as_json: bool
) -> None:
    """Verify the quote in FILE with the given collateral, for the given time.

    Exits with 0 when verified, 1 when refused, 65 when malformed.

    Example: labkit quote verify quote.bin --collateral collateral.json --now 1751624191
    """
    root = _certificate(read_input(root_ca)) if root_ca else None
    result = verify_quote(_quote_bytes(file), parse_collateral(read_input(collateral)), now, root)
    emit(result, as_json)
    ctx.exit(0 if result.verified else 1)


def _quote_bytes(path: Path) -> bytes:
    """A quote as it is, or written as hexadecimal text."""
    data = read_input(path, 4 << 20)
    try:
        return bytes.fromhex(data.decode("ascii"))
    except ValueError:
        return data


def _certificate(data: bytes) -> bytes:
    if not data.lstrip().startswith(b"-----BEGIN"):
        return data
    try:
        return x509.load_pem_x509_certificate(data).public_bytes(Encoding.DER)
    except (ValueError, x509.InvalidVersion) as error:
        raise UsageError(
            f"The root is no certificate: {error}.", "Give one certificate, DER or PEM."
        ) from error
