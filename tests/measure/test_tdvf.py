from __future__ import annotations

import random
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import NotATdvf
from labkit.measure import mrtd, read_tdvf
from labkit.measure.tdvf import SectionType, join_firmware
from labkit.settings import Settings
from tests import bring
from tests.measure.firmware import DESCRIPTOR, ROWS, TD_HOB, TEMP_MEM, Row, image, shim

DEBIAN_OVMF = bring.folder(Settings.load(), bring.BOOKWORM) / "usr/share/OVMF"


def test_the_table_of_a_good_image_is_read_as_written() -> None:
    tdvf = read_tdvf(image())
    assert [section.type for section in tdvf.sections] == [
        SectionType.BFV,
        SectionType.CFV,
        SectionType.TEMP_MEM,
        SectionType.TD_HOB,
    ]
    first = tdvf.sections[0]
    assert (first.gpa, first.memory_size, first.data_offset, first.raw_size) == (
        0xFFFFD000,
        0x3000,
        0x1000,
        0x3000,
    )
    assert [section.extended for section in tdvf.sections] == [True, False, False, False]
    assert all(section.added for section in tdvf.sections)
    assert tdvf.unmeasured_bytes == 0x1000
    assert tdvf.image[tdvf.descriptor_offset :].startswith(tdvf.descriptor())
    assert tdvf.descriptor()[:4] == b"TDVF"


def test_it_shows_itself_as_text_and_html() -> None:
    tdvf = read_tdvf(image())
    assert "0xffffd000" in str(tdvf)
    assert "0xffffd000</code>" in tdvf._repr_html_()
    assert len(repr(tdvf)) < 1000


def _with_row(number: int, **changes: int) -> tuple[Row, ...]:
    data_offset, raw_size, gpa, memory_size, kind, attributes = ROWS[number]
    row = (
        changes.get("data_offset", data_offset),
        changes.get("raw_size", raw_size),
        changes.get("gpa", gpa),
        changes.get("memory_size", memory_size),
        changes.get("type", kind),
        changes.get("attributes", attributes),
    )
    return (*ROWS[:number], row, *ROWS[number + 1 :])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (_with_row(0, type=9), "unknown type"),
        (_with_row(0, attributes=8), "unknown type 0 or attributes"),
        (_with_row(0, gpa=0xFFFFD001), "whole pages"),
        (_with_row(2, memory_size=0), "whole pages"),
        (_with_row(2, memory_size=0x800), "whole pages"),
        (_with_row(2, gpa=1 << 52), "whole pages"),
        (_with_row(0, raw_size=0x2000), "does not fill it"),
        (_with_row(0, raw_size=0x4000), "more data than memory"),
        (_with_row(2, raw_size=0x1000), "scratch memory"),
        (_with_row(1, gpa=0xFFFFD000), "overlap in the memory"),
        (_with_row(1, data_offset=0x1000), "overlap in the file"),
        (_with_row(0, data_offset=0x2000), "variable store"),
        (_with_row(3, type=TEMP_MEM), "exactly one TD_HOB"),
        (_with_row(2, type=TD_HOB), "exactly one TD_HOB"),
        (_with_row(2, memory_size=1 << 40, gpa=1 << 41), "1 GiB"),
        (ROWS[1:], "at least one BFV"),
    ],
)
def test_a_contradictory_table_is_refused_with_its_reason(rows: tuple[Row, ...], words: str) -> None:
    with pytest.raises(NotATdvf, match=words) as caught:
        read_tdvf(image(rows))
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a TDX firmware"),
        (bytes(4096), "not a TDX firmware"),
        (image(version=2), "version 1"),
        (image(length=17), "17 bytes"),
        (image(guid=bytes(16)), "No TDVF GUID"),
        (image(offset_content=b"\xff\xff\xff\x7f"), "outside the file"),
        (image(offset_content=b"\x00\x00\x00"), "wrong length"),
        (bytes(4096) + image()[-0x20 - 18 - 32 :], "impossible length"),
    ],
)
def test_what_is_no_tdvf_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(NotATdvf, match=words):
        read_tdvf(data)


def test_what_no_firmware_needs_is_refused_and_the_most_is_not() -> None:
    longest = bytes((64 << 20) - 0x4000) + image()
    assert read_tdvf(longest).sections == read_tdvf(image()).sections
    with pytest.raises(NotATdvf, match="67108865 bytes, too many"):
        read_tdvf(b"\0" + longest)
    left = (1 << 30) - sum(row[3] for row in ROWS)
    most: Row = (0, 0, 0x40000000, left, TEMP_MEM, 0)
    assert len(read_tdvf(image((*ROWS, most))).sections) == 5
    with pytest.raises(NotATdvf, match="more than 1 GiB"):
        read_tdvf(image((*ROWS, (*most[:3], left + 0x1000, *most[4:]))))
    # Pages that are added while the TD runs are not counted.
    read_tdvf(image((*ROWS, (*most[:3], left + 0x1000, TEMP_MEM, 2))))


def test_a_table_of_guids_without_tdx_is_refused() -> None:
    data = image().replace(image()[image().index(DESCRIPTOR) + 16 + 16 + 32 * 4 + 6 :][:16], bytes(16))
    with pytest.raises(NotATdvf, match="no TDX metadata"):
        read_tdvf(data)


def test_code_is_completed_with_its_variables_by_content() -> None:
    whole = image()
    variables, code = whole[:0x1000], whole[0x1000:]
    assert join_firmware(code, variables) == whole
    assert join_firmware(whole, variables) == whole
    with pytest.raises(NotATdvf, match="variable store"):
        read_tdvf(code)
    with pytest.raises(NotATdvf, match="code and variables make"):
        join_firmware(code, bytes(0x2000))


@given(st.integers(0, 0x3FFF), st.integers(1, 255))
def test_one_changed_byte_is_read_or_refused_but_never_crashes(offset: int, mask: int) -> None:
    data = bytearray(image())
    data[offset] ^= mask
    try:
        tdvf = read_tdvf(bytes(data))
    except NotATdvf:
        return
    assert tdvf.image == bytes(data)


@given(
    pages=st.lists(st.integers(1, 16), min_size=1, max_size=8),
    gap=st.integers(1, 64),
    first=st.integers(0x800, 0x8000),
    order=st.randoms(use_true_random=False),
)
def test_any_sections_round_trip(pages: list[int], gap: int, first: int, order: random.Random) -> None:
    rows, page = [ROWS[0], ROWS[1]], first
    for number, count in enumerate(pages):
        rows.append((0, 0, page << 12, count << 12, TD_HOB if number == 0 else TEMP_MEM, 0))
        page += count + gap
    order.shuffle(rows)
    data = image(tuple(rows))
    tdvf = read_tdvf(data)
    assert [section.encode() for section in tdvf.sections] == [struct.pack("<IIQQII", *row) for row in rows]
    assert tdvf.descriptor() in data


@given(st.binary(max_size=200))
def test_any_tail_is_read_or_refused(tail: bytes) -> None:
    try:
        read_tdvf(image() + tail)
    except NotATdvf:
        assert tail
    else:
        assert not tail


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("OVMF_CODE_4M.fd", "no TDX metadata"),
        ("OVMF_CODE.fd", "code part"),
        ("OVMF_VARS.fd", "not a TDX firmware"),
    ],
)
def test_debians_other_files_are_refused(name: str, words: str) -> None:
    path = DEBIAN_OVMF / name
    if not path.is_file() or not (DEBIAN_OVMF / "OVMF_CODE_4M.fd").is_file():
        pytest.skip("Debian 12's ovmf package is not here: `./lab test` fetches it")
    with pytest.raises(NotATdvf, match=words):
        read_tdvf(path.read_bytes())


def test_a_td_shim_image_is_a_tdx_firmware() -> None:
    """Its descriptor is found by a number; it has types of its own, and may do without a TD HOB."""
    info, parameters = (0, 0x100, 0, 0, 7, 0), (0x100, 0x100, 0, 0, 8, 0)
    tdvf = read_tdvf(shim((ROWS[0], *ROWS[2:], info, parameters)))
    assert [section.type.name for section in tdvf.sections] == [
        "BFV",
        "TEMP_MEM",
        "TD_HOB",
        "TD_INFO",
        "TD_PARAMS",
    ]
    assert mrtd(tdvf, "single-pass") == mrtd(replace(tdvf, sections=tdvf.sections[:3]), "single-pass")
    assert len(read_tdvf(shim((ROWS[0],))).sections) == 1
    with pytest.raises(NotATdvf, match="exactly one TD_HOB"):
        read_tdvf(image((ROWS[0],)))
    with pytest.raises(NotATdvf, match="not a TDX firmware"):
        read_tdvf(shim(guid=bytes(16)))
    with pytest.raises(NotATdvf, match="whole pages"):
        read_tdvf(shim(((0x1000, 0x3000, 0xFFFFD000, 0, 0, 1), ROWS[3])))
