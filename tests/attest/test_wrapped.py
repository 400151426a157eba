"""Quotes and logs in the wrappings in which people have them, and things that are taken for quotes."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import quopri
import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from urllib.parse import urlencode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from labkit.attest import (
    LabAuthority,
    Policy,
    appraise,
    compare_log,
    make_tdreport,
    parse_quote,
    verify_quote,
)
from labkit.attest.wrapped import unwrap_quote
from labkit.errors import LabkitError, MalformedEventLog, MalformedEvidence
from labkit.measure import embedded as embedded_module
from labkit.measure import parse_log
from labkit.measure.replay import report_log
from labkit.measure.strangers import QUOTE_STARTS
from tests.attest.conftest import NOW, report
from tests.measure.logs import ccel

QUOTE = LabAuthority.create(NOW).quote(report())
LOG = ccel().encode()
WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    "binary": lambda data: data,
    "hex": lambda data: data.hex().encode(),
    "0x": lambda data: b"0x" + data.hex().upper().encode() + b"\n",
    "0X": lambda data: b"0X" + data.hex().encode(),
    "hex in lines": lambda data: b"\n".join(
        data.hex().encode()[at : at + 64] for at in range(0, 2 * len(data), 64)
    ),
    "base64": base64.b64encode,
    "base64 in lines": base64.encodebytes,
    "base64url": lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
    "hex with colons": lambda data: data.hex(":").encode(),
    "C": lambda data: f"unsigned char q[] = {{\n{', '.join(map(hex_byte, data))}\n}};\n".encode(),
    "escapes": lambda data: "".join(f"\\x{byte:02x}" for byte in data).encode(),
    "Python": lambda data: repr(data).encode(),
    "xxd": lambda data: dump(data, 4, ": ", "  .."),
    "hexdump -C": lambda data: dump(data, 2, "  ", "  |..|"),
    "hexdump": lambda data: words(data, "0000", "%07x"),
    "od -x": lambda data: words(data, "*", "%06x"),
    "dmem of UEFI's shell": lambda data: (
        b"Memory Address 7D860000\r\n" + halves(data, b"  %08X: ", b"-", b"  *.*\r\n")
    ),
    "hexyl": lambda data: halves(
        data, b"\xe2\x94\x82%08x\xe2\x94\x82 ", b" \xe2\x94\x8a ", b"\xe2\x94\x82be\n"
    ),
    "a mail's reply": lambda data: b"".join(
        b"> > %s\n" % line for line in base64.encodebytes(data).splitlines()
    ),
    "a patch": lambda data: b"".join(b"+%s\n" % line for line in data.hex("\n", 32).encode().splitlines()),
    "a shell's lines": lambda data: b"Q=\\\n" + data.hex("\n", 32).replace("\n", "\\\n").encode(),
    "entities": lambda data: (
        b"<code>" + base64.b64encode(data).replace(b"+", b"&#43;").replace(b"=", b"&#x3D;") + b"</code>"
    ),
    "od": lambda data: (
        b"".join(b"%07o %s\n" % (at, data[at : at + 16].hex(" ").encode()) for at in range(0, len(data), 16))
        + b"%07o\n" % len(data)
    ),
    "hexdump -C, rows left out": lambda data: words(data, "*", "%08x", turned=False),
    "Go": lambda data: f"[]byte{{{', '.join(map(hex, data))}}}".encode(),
    "Go, printed": lambda data: f"quote: [{' '.join(map(str, data))}]\n".encode(),
    "Java": lambda data: f"[{', '.join(str(byte - 256 if byte > 127 else byte) for byte in data)}]".encode(),
    "Rust": lambda data: f"let q = vec![{', '.join(map(str, data))}];".encode(),
    "PEM": lambda data: b"-----BEGIN X-----\n" + base64.encodebytes(data) + b"-----END X-----\n",
    "YAML": lambda data: b"name: 1\nevidence: 0x" + data.hex().encode() + b"\nlast: true\n",
    "shell": lambda data: b"EVIDENCE=" + base64.b64encode(data) + b"\n",
    "data URI": lambda data: b"data:application/octet-stream;base64," + base64.b64encode(data),
    "page": lambda data: b"<pre>" + data.hex().encode() + b"</pre>",
    "gzip": gzip.compress,
    "UTF-16": lambda data: data.hex().encode("utf-16"),
    "byte order mark": lambda data: b"\xef\xbb\xbf" + data.hex().encode(),
    "base64 of hex": lambda data: base64.b64encode(data.hex().encode()),
    "UTF-16 without a mark": lambda data: data.hex().encode("utf-16-le"),
    "UTF-16 of the other order": lambda data: base64.b64encode(data).decode().encode("utf-16-be"),
    "gzip in two members": lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:]),
    "JSON text": lambda data: json.dumps(data.hex()).encode(),
    "JSON numbers": lambda data: json.dumps({"any": list(data)}).encode(),
    "JSON in JSON": lambda data: json.dumps({"any": json.dumps({"x": [data.hex()]})}).encode(),
    "JSON in base64": lambda data: base64.b64encode(json.dumps({"x": data.hex()}).encode()),
    "JSON of JavaScript": lambda data: json.dumps({"x": dict(enumerate(data))}).encode(),
    "PEM without padding": lambda data: (
        b"-----BEGIN X-----\n" + base64.encodebytes(data).replace(b"=", b"") + b"-----END X-----\n"
    ),
    "form": lambda data: urlencode({"quote": base64.b64encode(data), "nonce": "00"}).encode(),
    "quoted-printable": lambda data: quopri.encodestring(base64.b64encode(data)),
    "C with casts": lambda data: ", ".join(f"(uint8_t)0x{byte:02X}" for byte in data).encode(),
    "Java with casts": lambda data: f"{{{', '.join(f'(byte) {hex_byte(byte)}' for byte in data)}}}".encode(),
    "Rust with types": lambda data: f"[{', '.join(f'{hex_byte(byte)}u8' for byte in data)}]".encode(),
    "Kotlin": lambda data: ", ".join(f"{hex_byte(byte)}.toByte()" for byte in data).encode(),
    "Python in a log": lambda data: f"INFO quote {data!r} taken\n".encode(),
    "Python's bytearray": lambda data: repr(bytearray(data)).encode(),
    "PowerShell": lambda data: b"\r\n  00 01 02 03\r\n\r\n" + dump(data, 2, "   ", "  ..").upper(),
    "kernel log": lambda data: b"".join(
        b"[   12.34] quote: " + row for row in dump(data, 2, ": ", "  ..").splitlines(keepends=True)
    ),
    "gdb": lambda data: b"".join(
        f"0x7ffe{at:08x}:\t{chr(9).join(map(hex_byte, data[at : at + 8]))}\n".encode()
        for at in range(0, len(data), 8)
    ),
}


def hex_byte(byte: int) -> str:
    return f"0x{byte:02x}"


def words(data: bytes, same: str, offset: str, turned: bool = True) -> bytes:
    """A dump that ends with its length; of rows that are alike only the first where `same` is a star."""
    lines: list[str] = []
    last = b""
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        if row == last and same == "*":
            lines += ["*"] if lines[-1] != "*" else []
            continue
        pairs = [row[i : i + 2] for i in range(0, len(row), 2)]
        shown = [f"{int.from_bytes(pair, 'little'):04x}" for pair in pairs] if turned else [row.hex(" ")]
        lines.append(f"{offset % at} {' '.join(shown)}")
        last = row
    return "\n".join([*lines, offset % len(data)]).encode() + b"\n"


def halves(data: bytes, offset: bytes, between: bytes, end: bytes) -> bytes:
    """A dump whose rows have something between their halves."""
    rows = [data[at : at + 16] for at in range(0, len(data), 16)]
    texts = [(row[:8].hex(" ").encode(), row[8:].hex(" ").encode()) for row in rows]
    return b"".join(
        offset % (0x7D860000 + 16 * number) + one + (between + two if two else b"") + end
        for number, (one, two) in enumerate(texts)
    )


def dump(data: bytes, group: int, before: str, behind: str) -> bytes:
    lines = []
    for at in range(0, len(data), 16):
        digits = data[at : at + 16].hex()
        words = " ".join(digits[place : place + group] for place in range(0, len(digits), group))
        lines.append(f"{at:08x}{before}{words}{behind}\n")
    return "".join(lines).encode()


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
def test_a_quote_is_found_in_its_wrapping(wrap: Callable[[bytes], bytes]) -> None:
    assert unwrap_quote(wrap(QUOTE)) == QUOTE


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
def test_a_log_is_found_in_its_wrapping(wrap: Callable[[bytes], bytes]) -> None:
    assert parse_log(wrap(LOG)).encode() == LOG


@pytest.mark.parametrize(
    "document",
    [
        {"quote": QUOTE.hex(), "event_log": "[]", "report_data": "00"},
        {"quote": "0x" + QUOTE.hex()},
        {"data": {"tdx_quote": base64.b64encode(QUOTE).decode()}},
        {"Quote": base64.b64encode(QUOTE).decode()},
    ],
)
def test_a_quote_is_found_in_a_document(document: object) -> None:
    assert unwrap_quote(json.dumps(document).encode()) == QUOTE


@pytest.mark.parametrize(
    "frame",
    [
        struct.pack("<QQII", 1, 0, 0, len(QUOTE)),  # the buffer of TDX_CMD_GET_QUOTE
        struct.pack("<II", 1, len(QUOTE)),
        struct.pack(">I", len(QUOTE)),
        b"\xa1\x65quote\x59" + struct.pack(">H", len(QUOTE)),  # CBOR
        bytes.fromhex("38d8480a") + bytes(31) + b"\x20" + len(QUOTE).to_bytes(32),  # a call of a contract
    ],
    # The length of the quote differs from run to run: workers must collect the same names.
    ids=["the buffer of TDX_CMD_GET_QUOTE", "version and length", "length", "CBOR", "a contract's call"],
)
def test_a_quote_is_found_behind_its_frame(frame: bytes) -> None:
    assert unwrap_quote(frame + QUOTE) == QUOTE
    assert unwrap_quote(frame + QUOTE + b"behind") == QUOTE


def test_of_two_quotes_none_is_chosen() -> None:
    other = LabAuthority.create(NOW).quote(report())
    for document in ({"a": QUOTE.hex(), "b": other.hex()}, [other.hex(), {"quote": QUOTE.hex()}]):
        with pytest.raises(MalformedEvidence, match="2 different quotes"):
            unwrap_quote(json.dumps(document).encode())

    for text in (
        f'{{"quote": "{QUOTE.hex()}", "quote": "{other.hex()}"}}',
        f"{QUOTE.hex()}\n{other.hex()}\n",
        f"{(QUOTE + other).hex()}",
        f"{base64.b64encode(QUOTE + bytes(70) + other).decode()}",
    ):
        with pytest.raises(MalformedEvidence, match="2 different quotes"):
            unwrap_quote(text.encode())


def test_a_file_full_of_quotes_is_refused_after_some_of_them() -> None:
    start = struct.pack("<HHI", 4, 2, 0x81) + bytes(8 + 16)
    quotes = b"".join(start + struct.pack("<I", number) + bytes(700) for number in range(2_000))
    with pytest.raises(MalformedEvidence, match="16 or more different quotes"):
        unwrap_quote(base64.b64encode(quotes))


@pytest.mark.parametrize("number", ["-1", "-12", "0x4", "0x04", "12", "255"])
@pytest.mark.parametrize("first", ["", "1, ", "12, ", "-3, "])
def test_a_list_of_numbers_that_is_no_quote_is_text(first: str, number: str) -> None:
    """Wherever a reader cuts it to look at its beginning."""
    with pytest.raises(MalformedEvidence, match="text, not a TDX quote"):
        unwrap_quote(f"x = [{first}{', '.join([number] * 100)}]".encode())


def test_beginnings_of_quotes_alone_are_no_quotes() -> None:
    """A text of four megabytes full of them took five seconds."""
    starts = (base64.b64encode(start[:6]) for start in QUOTE_STARTS)
    with pytest.raises(MalformedEvidence, match="text, not a TDX quote"):
        unwrap_quote(b"x " + b" ".join([*starts] * 1000))


def test_of_two_logs_none_is_chosen() -> None:
    other = ccel(b"\xff" * 64).encode()
    for text in (
        json.dumps({"event_log": LOG.hex(), "earlier": other.hex()}),
        f'{{"event_log": "{LOG.hex()}", "event_log": "{other.hex()}"}}',
    ):
        with pytest.raises(MalformedEventLog, match="2 different logs"):
            parse_log(text.encode())


def test_a_cut_archive_is_not_taken_for_the_whole() -> None:
    first = ccel().encode()
    behind = len(gzip.compress(first)) - 12
    with pytest.raises(MalformedEventLog):
        parse_log(gzip.compress(first)[:behind])


@pytest.mark.parametrize(
    "members", [[LOG.ljust(1 << 14, b"\0"), LOG], [LOG, *[b""] * 64], [LOG.ljust(1 << 15, b"\0")]]
)
def test_an_archive_that_holds_too_much_is_not_read(
    members: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_module, "_LARGEST", 1 << 14)
    packed = b"".join(map(gzip.compress, members))
    assert list(embedded_module.embedded(packed, (LOG[:8],))) == []
    assert next(embedded_module.embedded(gzip.compress(LOG), (LOG[:8],))) == LOG


def header(version: int, key: int, tee: int) -> bytes:
    return struct.pack("<HHI", version, key, tee) + bytes(1000)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (report().encode(), "TDREPORT"),
        (report().encode().hex().encode(), "TDREPORT"),
        (report().encode() + bytes(3072), "TDREPORT"),
        (bytes(64) + report().encode(), "TDREPORT"),
        (json.dumps({"report": base64.b64encode(report().encode()).decode()}).encode(), "TDREPORT"),
        (b'"eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2ln"\n', "token"),
        (b"Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.\r\neyJhIjoxfQ.c2ln", "token"),
        (json.dumps({"payload": "e30", "protected": "e30", "signature": "c2ln"}).encode(), "token"),
        (json.dumps({"header": {"version": 4}, "tdQuoteBody": {"mrTd": "AA=="}}).encode(), "go-tdx-guest"),
        (b"-----BEGIN X509 CRL-----\nMIIBITCByAIBATAKBggqhkjOPQQDAg==\n-----END X509 CRL-----\n", "CRL"),
        (bytes.fromhex("308201203081c8020101300a06082a8648ce3d040302") + bytes(270), "CRL"),
        (b"-----BEGIN CERTIFICATE-----\r\nMIIEjzCC\r\n", "certificate"),
        (b"-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n", "public key"),
        (b"-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\n", "private key"),
        (QUOTE.decode("latin-1").encode(), "took for text"),
        (QUOTE.decode("utf-8", "replace").encode(), "took for text"),
        (header(3, 2, 0), "SGX quote of version 3"),
        (header(4, 2, 0), "SGX quote of version 4"),
        (header(2, 1, 0), "EPID"),
        (header(2, 1, 0)[:54], "EPID"),
        (
            struct.pack("<HHI", 5, 2, 0x81) + bytes(40) + struct.pack("<HI", 1, 384) + bytes(900),
            "SGX quote of version 5",
        ),
        (LOG, "event log"),
        (b"\x02\0\0\0" + bytes(1180), "AMD SEV-SNP"),
        (b"\1" * 432, "report of an SGX enclave"),
        (b"HCLA" + bytes(2000), "Azure"),
        (b"\xffTCG\x80\x18" + bytes(200), "TPM's quote"),
        (b"eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2ln", "token"),
        (json.dumps({"tcb_info": "{}"}).encode(), "collateral"),
        (json.dumps({"something": 1}).encode(), "no quote in it"),
        (json.dumps({"token": "eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2ln"}).encode(), "token"),
        (b"\x0a\x09\x08\x04\x10\x02\x18\x81\x01" + bytes(4000), "go-tdx-guest"),
        (b"header: {\n  version: 4\n  tee_type: 129\n}\n", "go-tdx-guest"),
        (b"\x84\x44\xa1\x01\x38\x22\xa0" + bytes(4000), "CBOR"),
        (b"\xd2\x84\x43\xa1\x01\x26" + bytes(4000), "CBOR"),
        (b"<!DOCTYPE html><title>404</title>", "page of a web server"),
        (b"PK\3\4" + bytes(4000), "ZIP"),
        (b"\x28\xb5\x2f\xfd" + bytes(4000), "zstd"),
        (gzip.compress(b"something else" * 99, mtime=0), "gzip"),
        (b"quote.bin".ljust(257, b"\0") + b"ustar" + bytes(4000), "tar archive"),
        (b"", "empty"),
        (b"\n", "empty"),
    ],
)
def test_what_is_no_quote_is_called_what_it_is(data: bytes, words: str) -> None:
    with pytest.raises(MalformedEvidence, match=words) as refusal:
        parse_quote(unwrap_quote(data))
    assert refusal.value.remedy


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_the_quote_in_a_certificate_is_found_and_another_certificate_is_called_one(
    encoding: Encoding,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "RA-TLS")])
    plain = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(datetime(2026, 1, 1))
        .not_valid_after(datetime(2027, 1, 1))
    )
    held = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.62397.1.1"), b"\x04\x82\0\0" + QUOTE)
    signed = plain.add_extension(held, critical=False).sign(key, SHA256())
    assert unwrap_quote(signed.public_bytes(encoding)) == QUOTE
    with pytest.raises(MalformedEvidence, match="certificate"):
        unwrap_quote(plain.sign(key, SHA256()).public_bytes(encoding))


def test_the_certificates_inside_a_quote_are_not_taken_for_the_file() -> None:
    with pytest.raises(MalformedEvidence) as refusal:
        parse_quote(unwrap_quote(bytes(200) + QUOTE))
    assert "certificate" not in str(refusal.value)


def test_hexadecimal_text_is_never_a_version() -> None:
    with pytest.raises(MalformedEvidence) as refusal:
        parse_quote(unwrap_quote(b"0x" + b"zz" * 5000))
    assert "30768" not in str(refusal.value)
    assert "not a TDX quote" in str(refusal.value)


@given(st.binary(max_size=1500))
def test_nothing_else_than_a_clear_error_comes_of_anything_else(data: bytes) -> None:
    with pytest.raises(LabkitError):
        parse_quote(unwrap_quote(data))


def runtime(name: str, payload: str, digest: str = "") -> dict[str, object]:
    return {"imr": 3, "event_type": 0x08000001, "digest": digest, "event": name, "event_payload": payload}


def test_a_runtime_event_without_its_digest_is_computed() -> None:
    digest = hashlib.sha384(struct.pack("<I", 0x08000001) + b":app-id:" + b"\x12\x34").digest()
    log = parse_log(json.dumps([runtime("app-id", "1234")]).encode())
    assert log.events[0].digest() == digest
    same = parse_log(json.dumps([runtime("app-id", "1234", digest.hex())]).encode())
    assert report_log(log).rtmr == report_log(same).rtmr


@pytest.mark.parametrize(
    "row",
    [
        1,
        [],
        {"imr": 3},
        {"imr": 4, "event_type": 1, "digest": "00" * 48},
        {"imr": True, "event_type": 1, "digest": "00" * 48},
        {"imr": 0, "event_type": "1", "digest": "00" * 48},
        {"imr": 0, "event_type": 4, "digest": "", "event": "", "event_payload": ""},
        {"imr": 0, "event_type": 4, "digest": "zz"},
        {"imr": 0, "event_type": 4, "digest": 5},
        {"imr": 3, "event_type": 0x08000001, "digest": "", "event": 7, "event_payload": ""},
        {"imr": 3, "event_type": 0x08000001, "digest": "", "event": "\ud800", "event_payload": ""},
    ],
)
def test_a_damaged_json_log_is_refused_in_a_sentence(row: object) -> None:
    with pytest.raises(MalformedEventLog, match=r"^Event 0 of the JSON list") as refusal:
        parse_log(json.dumps([row]).encode())
    assert "Error" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            f'[{{"imr": 0, "event_type": 1, "digest": "{"00" * 48}", "digest": "{"11" * 48}"}}]',
            "digest stands",
        ),
        ('[{"imr": NaN}]', "NaN"),
    ],
)
def test_a_json_log_in_which_something_can_hide_is_refused(text: str, words: str) -> None:
    for document in (text, json.dumps({"event_log": text})):
        with pytest.raises(MalformedEventLog, match=words):
            parse_log(document.encode())


def test_a_register_that_the_guest_extended_at_run_time_is_said_and_left_to_the_policy() -> None:
    whole = ccel()
    log = replace(whole, events=tuple(event for event in whole.events if event.register < 4))
    assert not log.has_runtime_events
    replayed = report_log(log).rtmr
    authority = LabAuthority.create(NOW)
    made = make_tdreport(
        mrtd=bytes(48), rtmr=(*replayed[:3], b"\x77" * 48), report_data=bytes(64), td_attributes=1 << 28
    )
    quote = authority.quote(made)
    compared = compare_log(report_log(log), parse_quote(quote))
    assert compared.states == ("equal", "equal", "equal", "extended at run time")
    assert compared.equal
    verdict = verify_quote(quote, authority.collateral(NOW), NOW, authority.root_der)
    assert appraise(Policy(allow_lab=True), verdict, log).accepted
    demanding = Policy(allow_lab=True, rtmr=(None, None, None, bytes(48)))
    assert [item.register for item in appraise(demanding, verdict, log).findings] == ["RTMR3"]
    wrong = make_tdreport(
        mrtd=bytes(48), rtmr=(b"\x01" * 48, *replayed[1:]), report_data=bytes(64), td_attributes=1 << 28
    )
    other = compare_log(report_log(log), parse_quote(authority.quote(wrong)))
    assert (other.states[0], other.equal) == ("differs", False)
    assert "RTMR0" in str(other).splitlines()[0]
    told = compare_log(report_log(whole), parse_quote(quote))
    assert (told.states[3], told.equal) == ("differs", False), "a log that speaks of RTMR3 is held to it"


@pytest.mark.data
def test_dstacks_answer_holds_both_and_they_agree(shared_data: Path) -> None:
    data = (shared_data / "vectors/dstack-quote-report/quote-report.json").read_bytes()
    compared = compare_log(report_log(parse_log(data)), parse_quote(unwrap_quote(data)))
    assert compared.states == ("equal",) * 4
