"""Collateral: what a verifier needs besides the quote, as the nine fields of Intel's QuoteCollateralV3."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from dcap_qvl import QuoteCollateralV3

from labkit.errors import MalformedEvidence
from labkit.measure.strangers import QUOTE_STARTS, named
from labkit.measure.wrapping import from_text, json_document, plain_text, values_of

_REMEDY = "Fetch it again for this platform's FMSPC, for example with dcap-qvl, and keep its texts unchanged."
_LIMIT = 4 << 20
_FIELDS = (
    "pck_crl_issuer_chain",
    "root_ca_crl",
    "pck_crl",
    "tcb_info_issuer_chain",
    "tcb_info",
    "tcb_info_signature",
    "qe_identity_issuer_chain",
    "qe_identity",
    "qe_identity_signature",
)
_BYTES = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")
_CHAINS = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")
_HEX = re.compile(r"[0-9a-fA-F]*")
_REPLIES = frozenset({"tcbInfo", "enclaveIdentity", "fmspc", "isvprodid"})
_DIRECTORY = "Save all of the service's replies in one folder, and name it with --collateral-dir."


@dataclass(frozen=True)
class Collateral:
    """Collateral as its JSON text, kept exactly: the signatures inside are over the text."""

    text: str

    @cached_property
    def native(self) -> Any:
        """The library's object; made once, since the same collateral serves many quotes."""
        try:
            return QuoteCollateralV3.from_json(self.text)
        except ValueError as error:
            raise MalformedEvidence(f"The collateral does not parse: {error}.", _REMEDY) from error

    @cached_property
    def tcb_info(self) -> dict[str, Any]:
        """The TCB info document; not verified here."""
        return _document(self.native.tcb_info)

    @cached_property
    def qe_identity(self) -> dict[str, Any]:
        """The QE identity document; not verified here."""
        return _document(self.native.qe_identity)

    @property
    def fmspc(self) -> str:
        """The platform family it is for, as hex in capitals."""
        return str(self.tcb_info.get("fmspc", "")).upper()

    @property
    def window(self) -> tuple[datetime, datetime]:
        """From when to when TCB info and QE identity are both current; CRLs may end it earlier.

        Raises:
            MalformedEvidence: a date is missing or is none.
        """
        try:
            issued = [_date(part, "issueDate") for part in (self.tcb_info, self.qe_identity)]
            next_update = [_date(part, "nextUpdate") for part in (self.tcb_info, self.qe_identity)]
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedEvidence(
                "The collateral has no valid dates: issueDate and nextUpdate, with a time zone.", _REMEDY
            ) from error
        return max(issued), min(next_update)

    def __repr__(self) -> str:
        return f"Collateral(fmspc={self.fmspc})"

    def __getstate__(self) -> dict[str, str]:
        return {"text": self.text}


def parse_collateral(data: bytes | str) -> Collateral:
    """Read collateral from JSON.

    Raises:
        MalformedEvidence: it is not collateral.
    """
    if len(data) > _LIMIT:
        raise MalformedEvidence(f"The collateral has {len(data)} bytes, far too many.", _REMEDY)
    if isinstance(data, bytes):
        _refuse_other(data)
    try:
        text = data if isinstance(data, str) else plain_text(data).decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedEvidence("The collateral is not text.", _REMEDY) from error
    collateral = Collateral(_whole(text))
    _ = collateral.native
    return collateral


def _refuse_other(data: bytes) -> None:
    """Refuse by its name what is known for something other than collateral."""
    if data.startswith(QUOTE_STARTS):
        raise MalformedEvidence("This is a TDX quote, not collateral.", "Give the file with the collateral.")
    if data[:2] in (b"\x30\x81", b"\x30\x82") or data.lstrip().startswith(b"-----BEGIN"):
        raise MalformedEvidence("This is one certificate or CRL, not the whole collateral.", _DIRECTORY)
    found = named(data)
    if found and found[0] != "text":
        raise MalformedEvidence(f"This is {found[0]}, not collateral.", found[1] or _REMEDY)


def _whole(text: str) -> str:
    """The nine fields as JSON: the document, or the part of a service's answer that has them.

    Raises:
        MalformedEvidence: it is no JSON object, or a field is not there, or is no text.
    """
    document = json_document(text.encode("utf-8", "surrogatepass"))
    inner = document
    if isinstance(document, dict) and not document.keys() & set(_FIELDS):
        inner = next(values_of(document, {"quote_collateral", "collateral"}), document)
        if document.keys() & _REPLIES and not any("crl" in key.lower() for key in document):
            raise MalformedEvidence("This is one reply of the service, not the whole collateral.", _DIRECTORY)
    if not isinstance(inner, dict):
        raise MalformedEvidence("The collateral is not a JSON object.", _REMEDY)
    given, inner = inner, _as_dcap_writes(inner)
    if wrong := [name for name in _FIELDS if not isinstance(inner.get(name), str)]:
        raise MalformedEvidence(
            f"The collateral does not have these fields as text: {', '.join(wrong)}.", _REMEDY
        )
    return text if given is document and inner == given else json.dumps(inner)


def _as_dcap_writes(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields under the names and in the spelling that the verifier reads; what is signed stays.

    Other programs name them in camel case, and write bytes as base64, as lists or with ``0x``, chains as a
    header has them.
    """
    named_so = {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower(): value for name, value in fields.items()}
    written = dict(fields) if fields.keys() & set(_FIELDS) else named_so
    for name in _BYTES:
        value = written.get(name)
        if isinstance(value, list) and all(type(item) is int and 0 <= item < 256 for item in value):
            written[name] = bytes(value).hex()
        elif isinstance(value, str) and not _HEX.fullmatch(value):
            written[name] = found.hex() if (found := from_text("".join(value.split()))) else value
    for name in _CHAINS:
        value = written.get(name)
        if isinstance(value, str) and "%0A" in value.upper():
            written[name] = unquote(value)
    return written


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedEvidence("A document inside the collateral is not JSON.", _REMEDY) from error
    if not isinstance(document, dict):
        raise MalformedEvidence("A document inside the collateral is not a JSON object.", _REMEDY)
    return document


def _date(document: dict[str, Any], key: str) -> datetime:
    moment = datetime.fromisoformat(document[key])
    if moment.tzinfo is None:
        raise ValueError(f"{key} has no time zone")
    return moment
