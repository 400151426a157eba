"""Finds event logs in the memory of a guest: where its firmware put them, and where its kernel kept a copy.

Whoever runs in the guest can write there, so a log that is found proves nothing by itself: it is believed as
far as it replays to registers that were read elsewhere.

Source: ACPI 6.5, section 5.2.5 (RSDP, XSDT) and 5.2.34 (CCEL); TCG ACPI Specification 1.4 (TPM2); TCG EFI
Protocol Specification, section 7 (final events table); Linux ``include/linux/efi.h``
(linux_efi_tpm_eventlog).
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from labkit.errors import MalformedEventLog
from labkit.measure.ccel import parse_ccel_table
from labkit.measure.event_log import EventLog, parse_log, parse_log_head

_WINDOW = 8 << 20
_LARGEST_LOG = 1 << 20
_LARGEST_TABLE = 4096
_MOST_TABLES = 128
_MOST_FOUND = 64
_LEGACY = (0xE0000, 0x20000)
_SPEC_ID = b"Spec ID Event03\0"
_BEFORE_SPEC_ID = 32
_COPY = struct.Struct("<IIB")
_FINAL_EVENTS = uuid.UUID("1e2ed096-30e2-4254-bd89-863bbef82325").bytes_le


class Memory(Protocol):
    """Physical memory of a guest; ``low`` is where the part below 4 GiB ends."""

    low: int

    def read(self, start: int, size: int) -> bytes:
        """``size`` bytes from the guest-physical address ``start``."""
        ...


@dataclass(frozen=True)
class FoundLog:
    """A log that parses, and where it was: ``where`` is a clause. ``data`` has no padding."""

    where: str
    data: bytes
    log: EventLog


def find_logs(memory: Memory) -> Iterator[FoundLog]:
    """Every event log in the memory of a paused guest, likeliest first.

    First the log area that the ACPI tables name (CCEL, TPM2). Then, from the top of low memory downwards,
    whatever begins as a log does: the area of the firmware, and the copy that Linux' EFI stub keeps, to which
    the events of the firmware's own table of final events are added.
    """
    seen: set[bytes] = set()
    for found in _all_logs(memory):
        if found.data not in seen:
            seen.add(found.data)
            yield found
        if len(seen) >= _MOST_FOUND:
            return


def _all_logs(memory: Memory) -> Iterator[FoundLog]:
    asked = False
    finals: list[int] = []
    copies: list[tuple[bytes, int]] = []
    for start, size in _windows(memory.low):
        # A little more than the window, so that nothing is cut in two.
        data = memory.read(start, min(size + 64, memory.low - start))
        if not asked and (tables := _acpi_tables(memory, data)):
            asked = True
            yield from _named_areas(memory, tables)
        new_finals = _finals(data)
        finals += new_finals
        yield from _joined(memory, copies, new_finals)
        for area in _areas(memory, start, data):
            size, logged_before, version = _COPY.unpack_from(area)
            if version == 2 and 0 < size <= len(area) - _COPY.size:
                copies.append((area[_COPY.size : _COPY.size + size], logged_before))
                yield from _joined(memory, copies[-1:], finals)
            yield from _parsed(area[_COPY.size :], "the area of the firmware's log")
    if not asked and memory.low > sum(_LEGACY):
        yield from _named_areas(memory, _acpi_tables(memory, memory.read(*_LEGACY)))


def _windows(low: int) -> Iterator[tuple[int, int]]:
    """Start and size of pieces of the memory below ``low``, from the top downwards."""
    end = low
    while end > 0:
        start = max(0, end - _WINDOW)
        yield start, end - start
        end = start


def _acpi_tables(memory: Memory, data: bytes) -> dict[bytes, bytes]:
    """The tables that a valid RSDP in ``data`` leads to, by signature; empty where there is none."""
    place = -1
    while (place := data.find(b"RSD PTR ", place + 1)) >= 0:
        rsdp = data[place : place + 36]
        if len(rsdp) < 36 or sum(rsdp[:20]) & 0xFF or rsdp[15] < 2 or sum(rsdp) & 0xFF:
            continue
        (address,) = struct.unpack_from("<Q", rsdp, 24)
        xsdt = _table(memory, address)
        if xsdt[:4] == b"XSDT":
            entries = [
                entry for (entry,) in struct.iter_unpack("<Q", xsdt[36 : 36 + (len(xsdt) - 36) // 8 * 8])
            ]
            tables = [_table(memory, entry) for entry in entries[:_MOST_TABLES]]
            return {table[:4]: table for table in reversed(tables) if table}
    return {}


def _table(memory: Memory, address: int) -> bytes:
    """An ACPI table with its checksum; empty where none stands there."""
    if not 0 < address <= memory.low - 36:
        return b""
    data = memory.read(address, min(_LARGEST_TABLE, memory.low - address))
    (length,) = struct.unpack_from("<I", data, 4)
    table = data[:length]
    return table if 36 <= length == len(table) and not sum(table) & 0xFF else b""


def _named_areas(memory: Memory, tables: dict[bytes, bytes]) -> Iterator[FoundLog]:
    if ccel := tables.get(b"CCEL"):
        try:
            table = parse_ccel_table(ccel)
        except MalformedEventLog:
            pass
        else:
            yield from _area(memory, table.address, table.length, "the log area of the ACPI table CCEL")
    tpm2 = tables.get(b"TPM2", b"")
    if len(tpm2) >= 76:
        length, address = struct.unpack_from("<IQ", tpm2, 64)
        yield from _area(memory, address, length, "the log area of the ACPI table TPM2")


def _area(memory: Memory, address: int, length: int, where: str) -> Iterator[FoundLog]:
    size = min(length, _LARGEST_LOG, memory.low - address)
    if 0 < address < memory.low and size > 0:
        yield from _parsed(memory.read(address, size), where)


def _areas(memory: Memory, start: int, data: bytes) -> Iterator[bytes]:
    """What follows each place where a log may begin, and the few bytes before it that may be Linux'."""
    place = -1
    while (place := data.find(_SPEC_ID, place + 1)) >= 0:
        address = start + place - _BEFORE_SPEC_ID - _COPY.size
        if address >= 0:
            yield memory.read(address, min(_LARGEST_LOG, memory.low - address))


def _finals(data: bytes) -> list[int]:
    """Addresses that an entry of the EFI configuration table names for the table of final events."""
    found: list[int] = []
    place = -1
    while (place := data.find(_FINAL_EVENTS, place + 1)) >= 0 and len(found) < _MOST_FOUND:
        if len(entry := data[place + 16 : place + 24]) == 8:
            found.append(int.from_bytes(entry, "little"))
    return found


def _joined(memory: Memory, copies: list[tuple[bytes, int]], finals: list[int]) -> Iterator[FoundLog]:
    """Linux' copies, each with what a table of final events has besides."""
    for copy, logged_before in copies:
        for address in finals:
            if 0 < address < memory.low - 16:
                table = memory.read(address, min(1 << 16, memory.low - address))
                if int.from_bytes(table[:8], "little") == 1:
                    where = "the copy that Linux' EFI stub kept, with the firmware's final events"
                    yield from _parsed(copy + table[16 + logged_before :], where)


def _parsed(data: bytes, where: str) -> Iterator[FoundLog]:
    """The log that ``data`` begins with, if it does, whatever follows it."""
    try:
        size = parse_log_head(data)
        yield FoundLog(where, data[:size], parse_log(data[:size]))
    except MalformedEventLog:
        return
