"""Event logs found in memory: made-up memories, so that every place of a log is tried."""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.measure.ccel import CcelTable
from labkit.measure.memory import find_logs
from tests.platforms.test_measurements import RAW, SHORT

LOW = 20 << 20
FINAL_EVENTS = uuid.UUID("1e2ed096-30e2-4254-bd89-863bbef82325").bytes_le


@dataclass
class Memory:
    data: bytearray
    low: int = LOW

    def read(self, start: int, size: int) -> bytes:
        assert start >= 0
        assert start + size <= self.low
        return bytes(self.data[start : start + size])


@pytest.fixture
def memory() -> Memory:
    return Memory(bytearray(LOW))


def put(memory: Memory, address: int, data: bytes) -> None:
    memory.data[address : address + len(data)] = data


def acpi(memory: Memory, table: bytes, rsdp_at: int = LOW - 0x2000, at: int = LOW - 0x8000) -> None:
    """One table behind RSDP and XSDT."""
    xsdt = bytearray(
        struct.pack("<4sIBB6s8sIII", b"XSDT", 44, 1, 0, b"", b"", 0, 0, 0) + struct.pack("<Q", at)
    )
    xsdt[9] = -sum(xsdt) & 0xFF
    put(memory, at, table)
    put(memory, at + 0x1000, bytes(xsdt))
    rsdp = bytearray(struct.pack("<8sB6sBIIQB3s", b"RSD PTR ", 0, b"", 2, 0, 36, at + 0x1000, 0, b""))
    rsdp[8] = -sum(rsdp[:20]) & 0xFF
    rsdp[32] = -sum(rsdp) & 0xFF
    put(memory, rsdp_at, bytes(rsdp))


def tpm2(address: int) -> bytes:
    table = bytearray(
        struct.pack("<4sI28sI", b"TPM2", 76, b"", 0) + bytes(24) + struct.pack("<IQ", 0x10000, address)
    )
    table[9] = -sum(table) & 0xFF
    return bytes(table)


def copy_of(log: bytes, logged_before: int = 0) -> bytes:
    return struct.pack("<IIB", len(log), logged_before, 2) + log


def found(memory: Memory) -> list[tuple[str, bytes]]:
    return [(log.where, log.data) for log in find_logs(memory)]


@pytest.mark.parametrize("filler", [0x00, 0xFF])
def test_the_log_area_of_tpm2(memory: Memory, filler: int) -> None:
    put(memory, 0x100000, RAW + bytes([filler]) * 0x10000)
    acpi(memory, tpm2(0x100000))
    assert found(memory)[0] == ("the log area of the ACPI table TPM2", RAW)


def test_the_log_area_of_ccel(memory: Memory) -> None:
    put(memory, 0x100000, RAW)
    acpi(memory, CcelTable(1, b"x" * 6, b"y" * 8, 1, b"z" * 4, 1, 0, 0x10000, 0x100000).encode())
    assert found(memory)[0] == ("the log area of the ACPI table CCEL", RAW)


def test_where_a_bios_keeps_its_rsdp(memory: Memory) -> None:
    put(memory, 0x100000, RAW)
    acpi(memory, tpm2(0x100000), rsdp_at=0xF0010)
    assert ("the log area of the ACPI table TPM2", RAW) in found(memory)


def test_linux_copy_goes_on_with_the_final_events_that_it_has_not(memory: Memory) -> None:
    record = 12 + 2 + 32 + 2 + 48 + 4 + 4
    whole, begun = RAW, RAW[:-record]
    tail = RAW[len(begun) :]
    put(memory, LOW - 0x10000, copy_of(begun, logged_before=5))
    put(memory, LOW - 0x20000, struct.pack("<QQ", 1, 2) + b"early" + tail + b"\xff" * 64)
    # In another window than the copy.
    put(memory, 0x300000, FINAL_EVENTS + struct.pack("<Q", LOW - 0x20000))
    logs = found(memory)
    assert logs[0] == ("the area of the firmware's log", begun)
    assert ("the copy that Linux' EFI stub kept, with the firmware's final events", whole) in logs


def test_a_log_anywhere_and_one_that_a_window_cuts(memory: Memory) -> None:
    put(memory, LOW - (8 << 20) - 40, RAW)
    put(memory, 0x4000, SHORT)
    assert [data for _, data in found(memory)] == [RAW, SHORT]


def test_memory_is_read_in_windows_and_all_of_it_once(memory: Memory) -> None:
    places: list[tuple[int, int]] = []
    read = memory.read

    def noted(start: int, size: int) -> bytes:
        places.append((start, size))
        return read(start, size)

    memory.read = noted  # type: ignore[method-assign]
    assert found(memory) == []
    window = 8 << 20
    # Each goes a little on into the one above it, so that nothing is cut in two.
    below = [(12 << 20, window), (4 << 20, window + 64), (0, (4 << 20) + 64)]
    assert places == [*below, (0xE0000, 0x20000)]


def test_what_follows_a_log_ends_it(memory: Memory) -> None:
    put(memory, 0x4000, SHORT + b"\x07" * 400)
    assert [data for _, data in found(memory)] == [SHORT]


@given(st.binary(max_size=120), st.integers(0, 0xFFFF_FFFF_FFFF_FFFF), st.integers(0, 0xFFFF_FFFF))
def test_whatever_stands_there_no_error_and_no_endless_search(junk: bytes, address: int, size: int) -> None:
    memory = Memory(bytearray(1 << 20), 1 << 20)
    put(memory, 0x9000, struct.pack("<IIB", size, size, 2) + RAW[:60] + junk)
    put(memory, 0xA000, FINAL_EVENTS + struct.pack("<Q", address))
    table = bytearray(tpm2(0)[:64] + struct.pack("<IQ", size, address))
    table[9] = 0
    table[9] = -sum(table) & 0xFF
    acpi(memory, bytes(table), 0xF000, 0xC000)
    assert len(found(memory)) <= 64
