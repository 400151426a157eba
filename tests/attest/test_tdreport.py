from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.attest import make_tdreport, parse_tdreport
from labkit.attest.bits import td_attributes, xfam
from labkit.errors import MalformedEvidence
from tests.attest.conftest import report


def test_a_report_is_read_as_written() -> None:
    data = report().encode()
    assert len(data) == 1024
    read = parse_tdreport(data)
    assert read == report()
    assert read.rtmr[2] == b"\x22" * 48 == data[816:864]
    assert data[528:576] == read.mrtd
    assert not read.debug


@given(st.integers(0, 1023), st.integers(1, 255))
def test_every_changed_byte_outside_the_free_fields_is_found(offset: int, mask: int) -> None:
    data = bytearray(report().encode())
    data[offset] ^= mask
    # CPUSVN, REPORTDATA and MAC are bound by the MAC alone, which only the processor can check;
    # byte 2 is the version, 0 or 1; bytes 495 to 511 are reserved.
    free = {2, *range(16, 32), *range(128, 192), *range(224, 256)}
    if offset in free:
        with contextlib.suppress(MalformedEvidence):
            assert parse_tdreport(bytes(data)).encode() == bytes(data)
    else:
        with pytest.raises(MalformedEvidence):
            parse_tdreport(bytes(data))


@given(st.binary(max_size=1100))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        parse_tdreport(data)


def test_each_defect_is_named() -> None:
    data = bytearray(report().encode())
    with pytest.raises(MalformedEvidence, match="this has 1023"):
        parse_tdreport(bytes(data[:-1]))
    with pytest.raises(MalformedEvidence, match="TDINFO does not match"):
        parse_tdreport(bytes(data[:720]) + b"\xff" + bytes(data[721:]))
    with pytest.raises(MalformedEvidence, match="TEE_TCB_INFO does not match"):
        parse_tdreport(bytes(data[:264]) + b"\xff" + bytes(data[265:]))
    with pytest.raises(MalformedEvidence, match="report type"):
        parse_tdreport(b"\x00" + bytes(data[1:]))
    with pytest.raises(MalformedEvidence, match="offset 400"):
        parse_tdreport(replace(report(), reserved_400=b"\1" * 112).encode())


@given(
    st.binary(min_size=48, max_size=48),
    st.binary(min_size=64, max_size=64),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
)
def test_any_made_report_round_trips(mrtd: bytes, data: bytes, attributes: int, features: int) -> None:
    made = make_tdreport(
        mrtd=mrtd, rtmr=(mrtd,) * 4, report_data=data, td_attributes=attributes, xfam=features
    )
    assert parse_tdreport(made.encode()) == made
    assert made.debug is bool(attributes & 1)
    assert "td_attributes" in str(made)


# Intel TDX Module 1.5 ABI, ATTRIBUTES; those of newer modules from later documents.
ATTRIBUTES = """0 DEBUG, 4 HGS_PLUS_PROF, 5 PERF_PROF, 6 PMT_PROF, 16 ICSSD, 27 LASS, 28 SEPT_VE_DISABLE,
29 MIGRATABLE, 30 PKS, 31 KL, 62 TPA, 63 PERFMON"""
STATE_COMPONENTS = {0, 1, 2, 5, 6, 7, 8, 9, 11, 12, 14, 15, 17, 18}


def test_every_bit_has_its_own_name_or_is_reserved() -> None:
    known = {int(number): name for number, name in (entry.split() for entry in ATTRIBUTES.split(","))}
    assert {bit.number: bit.name for bit in td_attributes(2**64 - 1) if bit.known} == known
    assert {bit.number for bit in xfam(2**64 - 1) if bit.known} == STATE_COMPONENTS
    assert len(td_attributes(2**64 - 1)) == 64


def test_a_made_report_has_the_features_that_every_td_has() -> None:
    """XFAM bits 0 and 1, x87 and SSE, must be set; the rest is zero where nothing is given."""
    made = make_tdreport(mrtd=bytes(48), rtmr=(bytes(48),) * 4, report_data=bytes(64), td_attributes=0)
    assert [bit.number for bit in xfam(int.from_bytes(made.xfam, "little"))] == [0, 1]
    assert (made.tee_tcb_svn, made.mac) == (bytes(16), bytes(32))


def test_a_value_of_wrong_length_is_no_report() -> None:
    with pytest.raises(ValueError, match="mrtd has 47 bytes"):
        make_tdreport(mrtd=bytes(47), rtmr=(bytes(48),) * 4, report_data=bytes(64), td_attributes=0)


def test_the_views_show_every_field() -> None:
    made = report()
    assert sum(len(field.value) for field in made.fields()) == 1024
    assert "SEPT_VE_DISABLE" in str(made)
    markup = made._repr_html_()
    assert "hex map" in markup
    assert "rtmr3" in markup
    assert len(repr(made)) < 100
    assert made.to_dict()["mrtd"] == "11" * 48


def test_attributes_and_features_are_named_bit_by_bit() -> None:
    assert [bit.name for bit in td_attributes(1 | 1 << 28 | 1 << 63)] == [
        "DEBUG",
        "SEPT_VE_DISABLE",
        "PERFMON",
    ]
    unknown = td_attributes(1 << 13)[0]
    assert (unknown.number, unknown.known) == (13, False)
    assert [bit.number for bit in xfam(0x602E7)] == [0, 1, 2, 5, 6, 7, 9, 17, 18]
    assert all(bit.known for bit in xfam(0x6DBE7))
    assert not any(bit.known for bit in xfam(1 << 3 | 1 << 63))
    assert xfam(0) == ()
    assert td_attributes(1)[0].to_dict() == {
        "bit": 0,
        "name": "DEBUG",
        "meaning": "the VMM can read and change the TD: trust nothing in it",
        "known": True,
    }


@pytest.mark.data
def test_a_report_of_real_hardware_is_read(shared_data: Path) -> None:
    data = (shared_data / "vectors/baremetal-live/tdreport.bin").read_bytes()
    real = parse_tdreport(data)
    assert real.encode() == data
    assert real.mrtd.hex().startswith("eea8b6a814569a52bd1e12f6b869bb2d")
    assert real.rtmr[2].hex().startswith("4070333e094dec303a5034cc332c9697")
    assert real.rtmr[3] == bytes(48)
    assert not real.debug
