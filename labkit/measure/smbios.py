"""What OVMF measures of a machine's SMBIOS tables: all of them, but for what differs between two of a kind.

Source: edk2 ``MdeModulePkg/Universal/SmbiosMeasurementDxe`` (in OVMF since edk2-stable202505, pull request
10939) and ``OvmfPkg/SmbiosPlatformDxe``; DMTF DSP0134, section 6.1. Found equal to the register of a boot of
edk2 2026.08 under QEMU 11.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_END_OF_TABLE = 127
_OEM = 128
# Of these nothing but the header counts: OEM strings, event log, memory errors, boot integrity.
_HEADER_ONLY = frozenset({11, 15, 18, 31, 33})
_HEADER = struct.Struct("<BBH")
_LAST_HANDLE = 0xFEFF
_END = b"\0\0"


@dataclass(frozen=True)
class LeftOut:
    """A field that is blanked before the tables are measured.

    kind: the type of its structure. offset, size: bytes. text: the field is the number of a string, which is
    blanked as well.
    """

    kind: int
    offset: int
    size: int
    text: bool


@dataclass(frozen=True)
class SmbiosRules:
    """What a firmware does with the tables that QEMU hands it.

    bios: the structure that it adds (type 0), with its strings. left_out: the fields that it blanks.
    """

    bios: bytes
    left_out: tuple[LeftOut, ...]


def measured_tables(tables: bytes, rules: SmbiosRules) -> bytes:
    """The bytes that are measured where QEMU hands over ``tables`` (its file ``etc/smbios/smbios-tables``).

    Raises:
        ValueError: a structure is cut short.
    """
    found = list(_structures(tables))
    if not any(entry[0] == 0 for entry in found):
        found.append(rules.bios)
    end = _HEADER.pack(_END_OF_TABLE, _HEADER.size, _LAST_HANDLE) + _END
    return b"".join(_blanked(entry, rules.left_out) for entry in found) + end


def _structures(tables: bytes) -> Iterator[bytes]:
    """Each structure with its strings, up to the end of the table."""
    at = 0
    while at < len(tables):
        size = tables[at + 1] if at + 1 < len(tables) else 0
        end = tables.find(_END, at + size)
        if size < _HEADER.size or end < 0:
            raise ValueError(f"the SMBIOS structure at byte {at} is cut short")
        if tables[at] == _END_OF_TABLE:
            return
        yield tables[at : end + len(_END)]
        at = end + len(_END)


def _blanked(entry: bytes, left_out: Sequence[LeftOut]) -> bytes:
    kind, length = entry[0], entry[1]
    if kind >= _OEM or kind in _HEADER_ONLY:
        return entry[: _HEADER.size] + bytes(len(entry) - _HEADER.size)
    made = bytearray(entry)
    for part in left_out:
        if part.kind != kind or part.offset + part.size > length:
            continue
        if part.text and (number := made[part.offset]):
            start, size = _string(bytes(made), length, number)
            made[start : start + size] = b" " * size
        made[part.offset : part.offset + part.size] = bytes(part.size)
    return bytes(made)


def _string(entry: bytes, length: int, number: int) -> tuple[int, int]:
    """Where a structure's string of this number (from 1) begins, and how long it is."""
    strings = entry[length : -len(_END)].split(b"\0")
    if number > len(strings):
        raise ValueError(f"an SMBIOS structure of type {entry[0]} has no string {number}")
    return length + sum(len(text) + 1 for text in strings[: number - 1]), len(strings[number - 1])
