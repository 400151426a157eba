"""Quotes as people have them, and the name of what is taken for one but is none."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from labkit.errors import MalformedEvidence
from labkit.measure.embedded import embedded
from labkit.measure.wrapping import from_text, json_document, plain_bytes, values_of

_QUOTE_NAMES = frozenset(
    {"quote", "tdx_quote", "td_quote", "tdquote", "intel_quote", "raw_quote", "quote_hex", "quote_base64"}
)
_COLLATERAL_NAMES = frozenset({"tcb_info", "tcbinfo", "enclaveidentity", "qe_identity"})
_JWT = re.compile(rb"\s*eyJ[\w-]+\.[\w-]+\.[\w-]*\s*")
_TDREPORT_SIZE, _SGX_REPORT_SIZE, _SNP_REPORT_SIZE = 1024, 432, 1184
_STARTS = tuple(struct.pack("<HHI", version, key, 0x81) for version in (4, 5) for key in (2, 3))
_DEEPEST_FRAME = 64
_MOST_QUOTES = 16
_ANOTHER = "Give the quote itself, as configfs-tsm's outblob or the quoting service gave it."


def unwrap_quote(data: bytes) -> bytes:
    """The bytes of the quote in ``data``: binary, or in any text, document or frame that has one in it.

    Raises:
        MalformedEvidence: it holds several quotes, or is known for something else; the message says what it
            is.
    """
    if data.startswith(_STARTS):
        return data
    quotes = list(dict.fromkeys(quote for found in embedded(data, _STARTS) for quote in _apart(found)))
    if len(quotes) > 1:
        many = f"{_MOST_QUOTES} or more" if len(quotes) >= _MOST_QUOTES else len(quotes)
        raise MalformedEvidence(
            f"There are {many} different quotes in it, and nothing says which is meant.",
            "Give one of them in a file of its own.",
        )
    if quotes:
        return quotes[0]
    document = json_document(data)
    if document is not None:
        for value in values_of(document, _QUOTE_NAMES):
            if isinstance(value, str) and (quote := from_text("".join(value.split()))):
                return quote
        if next(values_of(document, _COLLATERAL_NAMES), None) is not None:
            raise MalformedEvidence("This is collateral, not a quote.", "Name it with --collateral.")
        raise MalformedEvidence("This JSON document has no quote in it.", _ANOTHER)
    found = plain_bytes(data)
    # The quoting service's buffer, a length, or the head of a CBOR string stands before it.
    if places := [at for start in _STARTS if (at := found.find(start, 1, _DEEPEST_FRAME)) > 0]:
        return _whole(found[min(places) :])
    if name := other_than_a_quote(found):
        raise MalformedEvidence(*name)
    return found


def _apart(data: bytes) -> Iterator[bytes]:
    """The quote that the bytes begin with, and some of those that follow it."""
    vendor = data[12:28]
    for _ in range(_MOST_QUOTES):
        quote = _whole(data)
        yield quote
        rest = data[len(quote) :]
        places = [at for start in _STARTS if (at := rest.find(start)) >= 0]
        data = rest[min(places) :] if places else b""
        if not data or data[12:28] != vendor:
            return


def _whole(data: bytes) -> bytes:
    """A quote without what follows it, by the lengths in its own header."""
    try:
        (version,) = struct.unpack_from("<H", data)
        body = 48 + 584 if version == 4 else 54 + int(struct.unpack_from("<I", data, 50)[0])
        end = body + 4 + int(struct.unpack_from("<I", data, body)[0])
    except struct.error:
        return data
    return data[:end] if data[end:].strip(b"\0") else data


def other_than_a_quote(data: bytes) -> tuple[str, str] | None:
    """What the bytes are, where they are known for something other than a TDX quote, and what to do."""
    if data[:1] == b"\x81" and len(data) == _TDREPORT_SIZE:
        what = "This is a TDREPORT, not a quote: only the processor that made it can check it"
        return f"{what}.", "Have a quoting enclave make a quote of it; `labkit quote inspect` shows it."
    if data[32:48] == b"Spec ID Event03\0":
        return "This is an event log, not a quote.", "Use `labkit eventlog`."
    if data[:4] == b"HCLA":
        what = "This is the report of Azure's paravisor, not a quote"
        return f"{what}.", "Have Azure's service make a quote of the TDREPORT in it."
    if data[:4] == b"\xffTCG":
        return "This is a TPM's quote, not one of TDX.", _ANOTHER
    if len(data) == _SNP_REPORT_SIZE and data[:4] in (b"\2\0\0\0", b"\3\0\0\0", b"\5\0\0\0"):
        return "This is an attestation report of AMD SEV-SNP, not a TDX quote.", _ANOTHER
    if len(data) == _SGX_REPORT_SIZE:
        return "This is a report of an SGX enclave, not a TDX quote.", _ANOTHER
    if _JWT.fullmatch(data[: 1 << 16]):
        what = "This is a token (JWT) of an attestation service, not a quote"
        return f"{what}.", "Its service's keys verify it; labkit verifies quotes."
    return _other_quote(data)


def _other_quote(data: bytes) -> tuple[str, str] | None:
    """Other quotes with Intel's header: version, key type, TEE; version 5 has the type of its body too."""
    if len(data) < 54:
        return None
    version, key_type, tee = struct.unpack_from("<HHI", data)
    if version in (1, 2) and key_type in (0, 1):
        return f"This is an SGX quote of version {version} (EPID), not of TDX.", _ANOTHER
    sgx = version in (3, 4, 5) and key_type in (2, 3) and tee == 0
    if version == 5 and key_type in (2, 3):
        (body,) = struct.unpack_from("<H", data, 48)
        sgx = sgx or (tee == 0x81 and body == 1)
    if sgx:
        return f"This is an SGX quote of version {version}: its header is not that of a TDX quote.", _ANOTHER
    return None
