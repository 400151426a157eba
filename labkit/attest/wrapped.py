"""Quotes as people have them, and the name of what is taken for one but is none."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from labkit.errors import MalformedEvidence
from labkit.measure.embedded import embedded
from labkit.measure.strangers import (
    QUOTE_STARTS,
    REPORT,
    REPORT_STARTS,
    TOKEN,
    named,
    sgx_quote,
    td_report,
)
from labkit.measure.wrapping import from_text, json_document, plain_bytes, values_of

_QUOTE_NAMES = frozenset(
    {"quote", "tdx_quote", "td_quote", "tdquote", "intel_quote", "raw_quote", "quote_hex", "quote_base64"}
)
_COLLATERAL_NAMES = frozenset({"tcb_info", "tcbinfo", "enclaveidentity", "qe_identity"})
_MESSAGE_NAMES = frozenset({"tdquotebody", "td_quote_body"})
_TOKEN_NAMES = frozenset(
    {"token", "attestation_token", "attestationtoken", "access_token", "jwt", "id_token"}
)
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
_DEEPEST_FRAME = 160
_MOST_QUOTES = 16
_ANOTHER = "Give the quote itself, as configfs-tsm's outblob or the quoting service gave it."


def unwrap_quote(data: bytes) -> bytes:
    """The bytes of the quote in ``data``: binary, or in any text, document or frame that has one in it.

    Raises:
        MalformedEvidence: it holds several quotes, or is known for something else; the message says what it
            is.
    """
    if data.startswith(QUOTE_STARTS):
        return data
    quotes: list[bytes] = []
    reported = td_report(plain_bytes(data)) is not None
    # One look for both: it takes a second for the largest of texts.
    for found in embedded(data, (*QUOTE_STARTS, *REPORT_STARTS)):
        if not found.startswith(QUOTE_STARTS):
            reported |= td_report(found) is not None
            continue
        quotes += [one for one in dict.fromkeys(_apart(found)) if one not in quotes]
        if len(quotes) >= _MOST_QUOTES:
            break
    del quotes[_MOST_QUOTES:]
    if len(quotes) > 1:
        many = f"{_MOST_QUOTES} or more" if len(quotes) == _MOST_QUOTES else len(quotes)
        raise MalformedEvidence(
            f"There are {many} different quotes in it, and nothing says which is meant.",
            "Give one of them in a file of its own.",
        )
    if quotes:
        return quotes[0]
    if reported:
        raise MalformedEvidence(f"This is {REPORT[0]}, not a TDX quote.", REPORT[1])
    document = json_document(data)
    if document is not None:
        for value in values_of(document, _QUOTE_NAMES):
            if isinstance(value, str) and (quote := from_text("".join(value.split()))):
                return quote
        if next(values_of(document, _COLLATERAL_NAMES), None) is not None:
            raise MalformedEvidence("This is collateral, not a quote.", "Name it with --collateral.")
        tokens = values_of(document, _TOKEN_NAMES)
        for token in tokens:
            if isinstance(token, str) and named(token.encode("utf-8", "replace")) == TOKEN:
                raise MalformedEvidence(f"This is {TOKEN[0]}, not a TDX quote.", TOKEN[1])
        if isinstance(document, dict) and {"payload", "protected", "signature"} <= document.keys():
            raise MalformedEvidence(f"This is {TOKEN[0]}, not a TDX quote.", TOKEN[1])
        if next(values_of(document, _MESSAGE_NAMES), None) is not None:
            raise MalformedEvidence(
                "This is go-tdx-guest's message of a quote, in JSON, not a TDX quote.",
                "Take `attest -outform bin`.",
            )
        raise MalformedEvidence("This JSON document has no quote in it.", _ANOTHER)
    if certificates := _certificates(data):
        for certificate in certificates:
            if places := [at for start in QUOTE_STARTS if (at := certificate.find(start)) > 0]:
                return _whole(certificate[min(places) :])
        raise MalformedEvidence("This is a certificate, and it has no quote in it.", _ANOTHER)
    found = plain_bytes(data)
    # The quoting service's buffer, a length, or the head of a CBOR string stands before it.
    if places := [at for start in QUOTE_STARTS if (at := found.find(start, 1, _DEEPEST_FRAME)) > 0]:
        return _whole(found[min(places) :])
    if other := other_than_a_quote(found):
        raise MalformedEvidence(*other)
    return found


def unwrap_report(data: bytes) -> bytes | None:
    """The TDREPORT in ``data``, in the wrappings that a quote may have; None where there is none."""
    if (report := td_report(plain_bytes(data))) is not None:
        return report
    found = (report for piece in embedded(data, REPORT_STARTS) if (report := td_report(piece)) is not None)
    return next(found, None)


def _apart(data: bytes) -> Iterator[bytes]:
    """The quote that the bytes begin with, and some of those that follow it."""
    vendor = data[12:28]
    for _ in range(_MOST_QUOTES):
        quote = _whole(data)
        yield quote
        rest = data[len(quote) :]
        places = [at for start in QUOTE_STARTS if (at := rest.find(start)) >= 0]
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
    if not (found := named(data) or sgx_quote(data)):
        return None
    what, remedy = found
    return f"This is {what}, not a TDX quote.", remedy or _ANOTHER


def _certificates(data: bytes) -> list[bytes]:
    """The certificates that a file is: RA-TLS carries its quote in one."""
    # A list of revoked certificates has no version in brackets.
    if (
        data[:2] == b"\x30\x82"
        and b"\xa0\x03\x02\x01" in data[:16]
        and int.from_bytes(data[2:4], "big") + 4 == len(data)
    ):
        return [data]
    # A quote has certificates inside it, as text among its bytes.
    blocks = [] if b"\0" in data else _CERTIFICATE.findall(data)
    return [der for block in blocks if (der := plain_bytes(block[27:-25])) != block[27:-25]]
