from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import MalformedEventLog
from labkit.measure.ccel import CcelTable, parse_ccel_table

TABLE = CcelTable(1, b"BOCHS ", b"BXPC    ", 1, b"BXPC", 1, 0, 0x10000, 0x7BEA_2000)


def test_the_table_is_read_as_written() -> None:
    data = TABLE.encode()
    assert len(data) == 56
    assert sum(data) % 256 == 0
    assert (data[:4], data[36]) == (b"CCEL", 2)
    assert parse_ccel_table(data) == TABLE
    assert "0x7bea2000" in str(TABLE)
    assert "log_address" in TABLE._repr_html_()
    assert "hex map" in TABLE._repr_html_()
    assert TABLE.to_dict()["length"] == 0x10000


@pytest.mark.parametrize(
    ("offset", "words"), [(0, "signature"), (4, "length"), (9, "checksum"), (50, "checksum")]
)
def test_a_changed_byte_is_found(offset: int, words: str) -> None:
    data = bytearray(TABLE.encode())
    data[offset] ^= 1
    with pytest.raises(MalformedEventLog, match=words):
        parse_ccel_table(bytes(data))


def test_another_kind_of_guest_is_refused() -> None:
    data = bytearray(TABLE.encode())
    data[36], data[9] = 1, (data[9] + 1) & 0xFF
    with pytest.raises(MalformedEventLog, match="type 1"):
        parse_ccel_table(bytes(data))
    with pytest.raises(MalformedEventLog, match="this has 55"):
        parse_ccel_table(bytes(data[:-1]))


@given(
    st.integers(0, 255),
    st.binary(min_size=6, max_size=6),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
)
def test_any_table_round_trips(revision: int, oem: bytes, number: int, length: int, address: int) -> None:
    made = CcelTable(revision, oem, b"BXPC    ", number, b"BXPC", 1, 0, length, address)
    assert parse_ccel_table(made.encode()) == made


@given(st.binary(min_size=50, max_size=60))
def test_any_bytes_are_refused_or_round_trip(data: bytes) -> None:
    with contextlib.suppress(MalformedEventLog):
        assert parse_ccel_table(data).encode() == data
