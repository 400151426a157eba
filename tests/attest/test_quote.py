from __future__ import annotations

import base64
import contextlib
import random
import re
import struct
from pathlib import Path

import dcap_qvl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.attest import Collateral, LabAuthority, chain_of_trust, make_tdreport, parse_quote, verify_quote
from labkit.attest.authority import raw_signature
from labkit.attest.reasons import Refusal
from labkit.errors import MalformedEvidence
from tests.attest.conftest import DEBUG, NOW, SEPT_VE_DISABLE, report

AUTHORITY = LabAuthority.create(NOW)
QUOTE = AUTHORITY.quote(report())


def test_a_quote_is_read_as_written(quote: bytes) -> None:
    read = parse_quote(quote)
    assert read.encode() == quote
    assert read.mrtd == b"\x11" * 48
    assert read.rtmr == report().rtmr
    assert read.report_data == b"\x5a" * 64
    assert (read.debug, read.lab, read.padding) == (False, True, 0)
    assert read.user_data == b"LAB: NO TDX HARDWARE"


def test_the_fields_cover_every_byte(quote: bytes) -> None:
    fields = parse_quote(quote + bytes(9)).fields()
    assert b"".join(field.value for field in fields) == quote + bytes(9)
    assert [field.offset for field in fields] == [
        sum(len(field.value) for field in fields[:number]) for number in range(len(fields))
    ]
    assert fields[-1].name == "padding"


def test_zeros_behind_the_end_are_padding_and_nothing_else_is(quote: bytes) -> None:
    read = parse_quote(quote + bytes(307))
    assert read.padding == 307
    assert read.encode() == quote + bytes(307)
    with pytest.raises(MalformedEvidence, match="other than zeros"):
        parse_quote(quote + bytes(10) + b"\1")


def _patched(offset: int, layout: str, value: int) -> bytes:
    data = bytearray(QUOTE)
    struct.pack_into(layout, data, offset, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty file"),
        (QUOTE[:635], "this has 635"),
        (QUOTE + bytes(1 << 20), "some thousand bytes"),
        (_patched(0, "<H", 3), "version 3"),
        (_patched(0, "<H", 5), "is none of TD 1.0"),
        (_patched(2, "<H", 3), "ECDSA P-256"),
        (_patched(4, "<I", 0), "SGX quote of version 4, not a TDX quote"),
        (_patched(12, "<I", 0), "Intel's enclave"),
        (_patched(632, "<I", len(QUOTE)), "does not fit"),
        (_patched(632, "<I", 100), "does not fit"),
        (_patched(632, "<I", len(QUOTE) - 637), "outer certification"),
        (_patched(764, "<H", 7), "outer certification data has type 7"),
        (_patched(764, "<H", 3), "type 3 .the platform's PPID, encrypted with RSA-3072."),
        (_patched(764, "<H", 99), "type 99 .unknown."),
        (_patched(766, "<I", 1), "outer certification"),
        (_patched(1218, "<H", 33), "33 bytes, not 32"),
        (_patched(1252, "<H", 4), "inner certification data has type 4"),
        (_patched(1254, "<I", 5), "inner certification"),
        (QUOTE.replace(b"-----BEGIN", b"-----BEGUN", 1), "three PEM"),
        (QUOTE[:1258] + b" " * (len(QUOTE) - 1258), r"\(0 found\)"),
        (QUOTE[:-1] + b" ", "three PEM"),
    ],
)
def test_each_defect_is_named(data: bytes, words: str) -> None:
    with pytest.raises(MalformedEvidence, match=words) as caught:
        parse_quote(data)
    assert caught.value.exit_code == 65


def test_one_nul_behind_the_chain_is_part_of_real_quotes() -> None:
    data = bytearray(QUOTE + b"\0")
    for offset in (632, 766, 1254):
        struct.pack_into("<I", data, offset, struct.unpack_from("<I", data, offset)[0] + 1)
    assert parse_quote(bytes(data)).encode() == bytes(data)


def test_a_v5_quote_with_a_wrong_body_is_refused(authority: LabAuthority) -> None:
    good = authority.quote(report(), 5)
    for body_type, size, words in (
        (5, 648, "none of"),
        (2, 648, "cannot have 648"),
        (3, 584, "cannot have 584"),
    ):
        with pytest.raises(MalformedEvidence, match=words):
            parse_quote(good[:48] + struct.pack("<HI", body_type, size) + good[54:])


def test_certificates_that_do_not_parse_are_refused(quote: bytes) -> None:
    start = quote.index(b"-----BEGIN") + 28
    broken = quote[:start] + b"AAAA" + quote[start + 4 :]
    with pytest.raises(MalformedEvidence, match="does not parse"):
        parse_quote(broken)


def _with_der_byte(data: bytes, at: int, value: int) -> bytes:
    """The quote with one byte of its first certificate changed, its PEM kept canonical."""
    begin, end = data.index(b"CERTIFICATE-----\n") + 17, data.index(b"-----END")
    der = bytearray(base64.b64decode(data[begin:end]))
    der[at] = value
    text = base64.b64encode(der)
    lines = b"".join(text[i : i + 64] + b"\n" for i in range(0, len(text), 64))
    return data[:begin] + lines + data[end:]


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        # 30 82 LL LL  30 82 LL LL  a0 03 02 01 VERSION  02 14 SERIAL: found by mutation and by fuzzing.
        (12, 102, "102 is not a valid X509 version"),
        (15, 0x80, "wasn't positive"),
    ],
)
def test_a_certificate_that_no_standard_allows_is_refused(at: int, value: int, words: str) -> None:
    with pytest.raises(MalformedEvidence, match=words):
        parse_quote(_with_der_byte(QUOTE, at, value))


def test_a_name_of_a_wrong_type_is_refused() -> None:
    # A UTF-8 string in a subject turned into a bit string; found by mutation.
    begin = QUOTE.index(b"-----BEGIN") + 28
    der = base64.b64decode(QUOTE[begin : QUOTE.index(b"-----END")])
    at = der.index(b"Lab PCK Certificate") - 2
    with pytest.raises(MalformedEvidence, match="BitString"):
        parse_quote(_with_der_byte(QUOTE, at, 0x03))


@given(st.integers(0, len(QUOTE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_read_or_refused(offset: int, mask: int) -> None:
    data = bytearray(QUOTE)
    data[offset] ^= mask
    with contextlib.suppress(MalformedEvidence):
        assert parse_quote(bytes(data)).encode() == bytes(data)


@given(st.integers(0, len(QUOTE)), st.binary(max_size=40))
def test_a_cut_or_grown_quote_is_read_or_refused(length: int, tail: bytes) -> None:
    with contextlib.suppress(MalformedEvidence):
        read = parse_quote(QUOTE[:length] + tail)
        assert read.encode() == QUOTE[:length] + tail


def test_the_views_show_what_it_is(authority: LabAuthority) -> None:
    read = parse_quote(authority.quote(report(1 | 1 << 13)))
    text = str(read)
    assert text.startswith("[EMULATED]")
    assert "DEBUG is set" in text
    assert "Reserved bits are set: 13" in text
    markup = read._repr_html_()
    assert "qe_report_signature" in markup
    assert "hex map" in markup
    document = read.to_dict()
    assert document["debug"] is document["lab"] is True
    assert document["rtmr"] == ["20" * 48, "21" * 48, "22" * 48, "23" * 48]
    assert document["fmspc"].startswith(b"LAB".hex())
    assert len(repr(read)) < 120


TRUTHS = {
    "dstack-quote-report/quote.bin": ("b24d3b24e9e3c160", "2e3843265f8ecdd4", 70),
    "baremetal-live/quote.bin": ("eea8b6a814569a52", "5aca07b1e885e17d", 307),
    "phala-b0c06f/quote.bin": ("91eb2b44d141d4ec", "44c0197b39157fdd", 70),
    "lab-signed/quote_v4_body2.bin": ("11" * 8, "20" * 8, 0),
    "lab-signed/quote_v5_body2.bin": ("11" * 8, "20" * 8, 0),
    "lab-signed/quote_v5_body3.bin": ("11" * 8, "20" * 8, 0),
}


@pytest.mark.data
@pytest.mark.parametrize("name", TRUTHS)
def test_real_quotes_are_read(name: str, shared_data: Path) -> None:
    data = (shared_data / "vectors" / name).read_bytes()
    read = parse_quote(data)
    assert read.encode() == data
    assert (read.mrtd.hex()[:16], read.rtmr[0].hex()[:16], read.padding) == TRUTHS[name]
    assert read.lab is name.startswith("lab-signed")


def test_the_chain_of_trust_is_drawn_from_the_quote(authority: LabAuthority) -> None:
    view = chain_of_trust(parse_quote(authority.quote(report(DEBUG | SEPT_VE_DISABLE))))
    assert view.text.startswith("[EMULATED] Who vouches for whom")
    drawn = re.search(r'base64,([^"]+)"', str(view.html))
    assert drawn
    picture = base64.b64decode(drawn[1]).decode()
    for words in ("Lab Root CA", "Lab PCK Platform CA", "a lab authority", "a debug TD", "5a5a5a5a5a5a5a5a"):
        assert words in view.text
        assert words in picture


@pytest.mark.data
def test_the_chain_of_a_real_quote_ends_in_intels_root(shared_data: Path) -> None:
    view = chain_of_trust(parse_quote((shared_data / "vectors/phala-b0c06f/quote.bin").read_bytes()))
    assert "EMULATED" not in view.text
    assert "Intel SGX Root CA" in view.text
    assert "FMSPC B0C06F000000" in view.text


def extended(authority: LabAuthority, body: bytes) -> bytes:
    """A quote with an extended body, signed as the lab signs; no lab makes such quotes."""
    good = authority.quote(report(), 5)
    signed = good[:48] + struct.pack("<HI", 4, len(body)) + body
    rest = bytearray(good[54 + 648 :])
    rest[4:68] = raw_signature(authority._attestation_key, signed)
    return signed + bytes(rest)


def test_an_extended_body_is_read_as_the_library_reads_it(authority: LabAuthority) -> None:
    body = random.Random(4).randbytes(885)
    data = extended(authority, body)
    ours, theirs = parse_quote(data), dcap_qvl.parse_quote(data).report
    assert ours.encode() == data
    assert ours.vmid == bytes([theirs.vmid])
    for name, other in (
        ("td_id", "td_id"),
        ("device_info", "dev_info"),
        ("initial_service_td_hash", "init_service_td_hash"),
        ("initial_service_td_attributes", "init_service_td_attributes"),
        ("initial_cpu_svn", "init_cpu_svn"),
        ("initial_tee_tcb_svn", "init_tee_tcb_svn"),
        ("initial_tee_fmspc", "init_tee_fmspc"),
        ("current_service_td_hash", "cur_service_td_hash"),
        ("current_service_td_attributes", "cur_service_td_attributes"),
        ("mr_service_td", "mr_service_td"),
        ("tee_tcb_svn2", "tee_tcb_svn2"),
        ("mrtd", "mr_td"),
        ("rtmr3", "rt_mr3"),
        ("report_data", "report_data"),
    ):
        assert getattr(ours, name) == getattr(theirs, other), name
    assert ours.to_dict()["body"] == "td-1.5-extended"
    assert "vmid" in str(ours)


@pytest.mark.parametrize("size", [648, 884, 886])
def test_an_extended_body_of_another_size_is_refused(size: int, authority: LabAuthority) -> None:
    with pytest.raises(MalformedEvidence, match=f"body of type 4 cannot have {size} bytes"):
        parse_quote(extended(authority, bytes(size)))


def test_an_extended_body_is_verified_like_the_others(
    authority: LabAuthority, collateral: Collateral
) -> None:
    td15 = authority.quote(report(), 5)[54 : 54 + 648]
    good = extended(authority, td15 + bytes(237))
    assert verify_quote(good, collateral, NOW, authority.root_der).verified
    changed = bytearray(good)
    changed[54 + 700] ^= 1
    assert verify_quote(bytes(changed), collateral, NOW, authority.root_der).reason is Refusal.QUOTE_SIGNATURE
    assert verify_quote(good, collateral, NOW).reason is Refusal.LAB_QUOTE


REGISTER = st.binary(min_size=48, max_size=48)


@given(
    registers=st.tuples(REGISTER, REGISTER, REGISTER, REGISTER, REGISTER),
    data=st.binary(min_size=64, max_size=64),
    attributes=st.integers(0, 2**64 - 1),
    version=st.sampled_from([4, 5]),
    padding=st.integers(0, 400),
)
def test_any_quote_round_trips(
    registers: tuple[bytes, ...], data: bytes, attributes: int, version: int, padding: int
) -> None:
    mrtd, zero, one, two, three = registers
    made = make_tdreport(mrtd=mrtd, rtmr=(zero, one, two, three), report_data=data, td_attributes=attributes)
    written = AUTHORITY.quote(made, version) + bytes(padding)
    read = parse_quote(written)
    assert read.encode() == written
    assert (read.mrtd, *read.rtmr) == registers
    assert (read.report_data, read.version, read.padding) == (data, version, padding)
    assert int.from_bytes(read.td_attributes, "little") == attributes
    assert read.debug is bool(attributes & 1)


@given(st.binary(min_size=885, max_size=885))
def test_any_extended_body_round_trips(body: bytes) -> None:
    written = extended(AUTHORITY, body)
    read = parse_quote(written)
    assert read.encode() == written
    assert b"".join(field.value for field in read.fields()) == written
