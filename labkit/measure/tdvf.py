"""The TDVF descriptor inside a firmware file: which pages a VMM adds to a TD before it runs.

Source of the layout: Intel TDX Virtual Firmware Design Guide (TDVF descriptor); the table of GUIDs at the
end of the image is edk2's (``OvmfPkg/ResetVector``). td-shim has no such table: its descriptor is found by a
number at 4 GiB - 0x20, and has section types of its own (td-shim specification, "TDX Metadata").
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from functools import cached_property
from itertools import pairwise
from typing import Any

from labkit.errors import NotATdvf
from labkit.show import columns
from labkit.show.fields import FieldSpan, hex_map, spans
from labkit.show.markup import details, join
from labkit.show.measure import section_table

PAGE = 4096
_FOOTER_GUID = uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
_OFFSET_GUID = uuid.UUID("e47a6535-984a-4798-865e-4685a7bf8ec2").bytes_le
_DESCRIPTOR_GUID = uuid.UUID("e9eaf9f3-168e-44d5-a8eb-7f4d8738f6ae").bytes_le
_ROW = struct.Struct("<IIQQII")
_RESET_VECTOR = 0x20
_MAX_IMAGE = 64 << 20
_MAX_ADDED = 1 << 30
_REMEDY = "Use an OVMF build with TDX support, such as /usr/share/ovmf/OVMF.fd of Debian 12."


class SectionType(IntEnum):
    """What a section is for."""

    BFV = 0
    CFV = 1
    TD_HOB = 2
    TEMP_MEM = 3
    PERM_MEM = 4
    PAYLOAD = 5
    PAYLOAD_PARAM = 6
    TD_INFO = 7
    TD_PARAMS = 8


class SectionAttribute(IntFlag):
    """How the VMM brings a section into the TD."""

    MR_EXTEND = 1
    PAGE_AUG = 2


@dataclass(frozen=True)
class TdvfSection:
    """One row of the TDVF table; sizes and addresses in bytes."""

    type: SectionType
    gpa: int
    memory_size: int
    data_offset: int
    raw_size: int
    attributes: SectionAttribute

    @property
    def added(self) -> bool:
        """The VMM adds these pages before the TD runs, so that MRTD counts them."""
        return not self.attributes & SectionAttribute.PAGE_AUG

    @property
    def extended(self) -> bool:
        """The content of these pages goes into MRTD too."""
        return self.added and bool(self.attributes & SectionAttribute.MR_EXTEND)

    def encode(self) -> bytes:
        """The 32 bytes of the row."""
        return _ROW.pack(
            self.data_offset, self.raw_size, self.gpa, self.memory_size, self.type, self.attributes
        )

    def to_dict(self) -> dict[str, Any]:
        """The keys of ``labkit measure``; addresses and sizes are numbers."""
        return {
            "type": self.type.name,
            "gpa": self.gpa,
            "memory_size": self.memory_size,
            "data_offset": self.data_offset,
            "raw_size": self.raw_size,
            "attributes": int(self.attributes),
        }


@dataclass(frozen=True)
class Tdvf:
    """A firmware image together with its TDVF table.

    image: the whole file, variable store included. descriptor_offset: where ``TDVF`` stands in it.
    """

    sections: tuple[TdvfSection, ...]
    descriptor_offset: int
    image: bytes = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of the image."""
        return len(self.image)

    @cached_property
    def sha384(self) -> str:
        """SHA-384 of the image, as hex."""
        return hashlib.sha384(self.image).hexdigest()

    @property
    def unmeasured_bytes(self) -> int:
        """Bytes of the image that belong to no section whose content MRTD covers."""
        return self.size - sum(s.raw_size for s in self.sections if s.extended)

    def data(self, section: TdvfSection) -> bytes:
        """The bytes of the image that fill a section; empty where it starts as zeros."""
        return self.image[section.data_offset : section.data_offset + section.raw_size]

    def of_type(self, kind: SectionType) -> tuple[TdvfSection, ...]:
        """The sections of one type, in the order of the table."""
        return tuple(section for section in self.sections if section.type is kind)

    def descriptor(self) -> bytes:
        """The descriptor as it stands in the image, from its signature to the last section."""
        return b"".join(span.value for span in self._spans())

    def to_dict(self) -> dict[str, Any]:
        """Image and sections with the keys of ``labkit measure``."""
        return {
            "firmware": {"sha384": self.sha384, "size": self.size},
            "sections": [section.to_dict() for section in self.sections],
        }

    def __str__(self) -> str:
        return columns([_HEAD, *self._rows()])

    def _repr_html_(self) -> str:
        return join([section_table(_HEAD, self._rows()), details("hex map", hex_map(self._spans()))])

    def _spans(self) -> list[FieldSpan]:
        count = len(self.sections)
        values = [
            ("signature", b"TDVF"),
            ("length", struct.pack("<I", 16 + 32 * count)),
            ("version", struct.pack("<I", 1)),
            ("number of sections", struct.pack("<I", count)),
            *((section.type.name, section.encode()) for section in self.sections),
        ]
        return spans(values, self.descriptor_offset)

    def _rows(self) -> list[tuple[str, ...]]:
        return [_row(section) for section in self.sections]


_HEAD = ("section", "GPA", "memory", "from file", "into MRTD")


def _row(section: TdvfSection) -> tuple[str, ...]:
    source = f"{section.data_offset:#x}+{section.raw_size:#x}" if section.raw_size else "zeros"
    counted = "address and content" if section.extended else "address" if section.added else "no"
    return (section.type.name, f"{section.gpa:#x}", f"{section.memory_size:#x}", source, counted)


def read_tdvf(data: bytes) -> Tdvf:
    """Read the TDVF table of a complete firmware image, checking every length and range.

    Sections must be page-aligned, must not overlap in memory or in the file, and volumes (BFV, CFV)
    must fill their memory exactly; there is exactly one TD_HOB and at least one BFV.

    Raises:
        NotATdvf: there is no such table, it contradicts itself, or the image is only the code part.
    """
    offset, sections = _read_table(data)
    end = max(section.data_offset + section.raw_size for section in sections)
    if end > len(data):
        raise NotATdvf(
            f"The TDVF sections end at {end:#x}, behind the end of this {len(data):#x}-byte file: "
            "it is the code part of a split image.",
            "Give the variable store that belongs to it as well (OVMF_VARS.fd), or the combined image.",
        )
    _check_ranges("file", [(s.data_offset, s.raw_size, s) for s in sections])
    return Tdvf(sections, offset, bytes(data))


def join_firmware(code: bytes, variables: bytes) -> bytes:
    """The image that the TDVF table of ``code`` describes: ``code`` alone, or with the variables before it.

    Which of the two it is follows from where the sections end, never from file names.

    Raises:
        NotATdvf: neither fits.
    """
    _, sections = _read_table(code)
    end = max(section.data_offset + section.raw_size for section in sections)
    if end <= len(code):
        return code
    if end <= len(code) + len(variables) and end - len(code) == len(variables):
        return variables + code
    raise NotATdvf(
        f"The TDVF sections need an image of {end:#x} bytes, but code and variables make "
        f"{len(code) + len(variables):#x}.",
        "Use the variable store that was built together with this code.",
    )


def _read_table(data: bytes) -> tuple[int, tuple[TdvfSection, ...]]:
    if len(data) > _MAX_IMAGE:
        raise NotATdvf(f"The file has {len(data)} bytes, too many for a firmware image.", _REMEDY)
    shim = _shim_descriptor(data)
    distance = _descriptor_distance(data) if shim is None else len(data) - shim
    offset = len(data) - distance
    if not 16 <= offset <= len(data) - 16:
        raise NotATdvf(f"The TDVF offset {distance:#x} points outside the file.", _REMEDY)
    if data[offset - 16 : offset] != _DESCRIPTOR_GUID:
        raise NotATdvf("No TDVF GUID stands before the descriptor.", _REMEDY)
    signature, length, version, count = struct.unpack_from("<4sIII", data, offset)
    if signature != b"TDVF" or version != 1:
        raise NotATdvf("The descriptor is not TDVF version 1.", _REMEDY)
    if length != 16 + 32 * count or not 1 <= count <= 64 or offset + length > len(data):
        raise NotATdvf(f"The TDVF descriptor says {length} bytes for {count} sections.", _REMEDY)
    rows = _ROW.iter_unpack(data[offset + 16 : offset + length])
    sections = tuple(_section(number, row) for number, row in enumerate(rows))
    _check_table(sections, shim=shim is not None)
    return offset, sections


def _shim_descriptor(data: bytes) -> int | None:
    """Where td-shim's descriptor stands: its offset in the file is a number 0x20 bytes before the end."""
    if len(data) < 4 * _RESET_VECTOR or data[-_RESET_VECTOR - 16 : -_RESET_VECTOR] == _FOOTER_GUID:
        return None
    offset = int.from_bytes(data[-_RESET_VECTOR : -_RESET_VECTOR + 4], "little")
    found = 16 <= offset <= len(data) - 16 and data[offset - 16 : offset] == _DESCRIPTOR_GUID
    return offset if found and data[offset : offset + 4] == b"TDVF" else None


def _descriptor_distance(data: bytes) -> int:
    for guid, content in _guided_entries(data):
        if guid == _OFFSET_GUID:
            if len(content) != 4:
                raise NotATdvf("The entry for the TDVF offset has a wrong length.", _REMEDY)
            return int.from_bytes(content, "little")
    raise NotATdvf("The firmware has a table of GUIDs but no TDX metadata in it.", _REMEDY)


def _guided_entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The GUIDed table that ends before the reset vector, last entry first."""
    end = len(data) - _RESET_VECTOR
    if end < 18 or data[end - 16 : end] != _FOOTER_GUID:
        raise NotATdvf(
            "The file ends without OVMF's table of GUIDs and without td-shim's: it is not a TDX firmware.",
            _REMEDY,
        )
    total = int.from_bytes(data[end - 18 : end - 16], "little")
    if not 18 <= total <= end:
        raise NotATdvf("OVMF's table of GUIDs has an impossible length.", _REMEDY)
    start, position = end - total, end - 18
    while position - 18 >= start:
        length = int.from_bytes(data[position - 18 : position - 16], "little")
        if length < 18 or position - length < start:
            raise NotATdvf("An entry of OVMF's table of GUIDs has an impossible length.", _REMEDY)
        yield data[position - 16 : position], data[position - length : position - 18]
        position -= length


def _section(number: int, row: tuple[int, ...]) -> TdvfSection:
    data_offset, raw_size, gpa, memory_size, kind, attributes = row
    if kind > max(SectionType) or attributes & ~3:
        raise NotATdvf(
            f"TDVF section {number} has unknown type {kind} or attributes {attributes:#x}.", _REMEDY
        )
    in_memory = kind not in (SectionType.TD_INFO, SectionType.TD_PARAMS)
    if gpa % PAGE or memory_size % PAGE or gpa + memory_size > 1 << 52 or (in_memory and memory_size == 0):
        raise NotATdvf(f"TDVF section {number} is not a range of whole pages.", _REMEDY)
    if raw_size > memory_size and (in_memory or memory_size):
        raise NotATdvf(f"TDVF section {number} has more data than memory.", _REMEDY)
    section = TdvfSection(
        SectionType(kind), gpa, memory_size, data_offset, raw_size, SectionAttribute(attributes)
    )
    if kind in (SectionType.BFV, SectionType.CFV) and raw_size != memory_size:
        raise NotATdvf(f"TDVF section {number} is a volume whose data does not fill it.", _REMEDY)
    if kind in (SectionType.TD_HOB, SectionType.TEMP_MEM) and raw_size:
        raise NotATdvf(f"TDVF section {number} is scratch memory, yet has data in the file.", _REMEDY)
    return section


def _check_table(sections: tuple[TdvfSection, ...], *, shim: bool) -> None:
    kinds = [section.type for section in sections]
    if kinds.count(SectionType.TD_HOB) not in ((0, 1) if shim else (1,)) or SectionType.BFV not in kinds:
        raise NotATdvf("A TDVF has exactly one TD_HOB section and at least one BFV; this has not.", _REMEDY)
    if sum(section.memory_size for section in sections if section.added) > _MAX_ADDED:
        raise NotATdvf("The TDVF sections add more than 1 GiB of memory, which no firmware does.", _REMEDY)
    _check_ranges("memory", [(s.gpa, s.memory_size, s) for s in sections])


def _check_ranges(where: str, ranges: list[tuple[int, int, TdvfSection]]) -> None:
    filled = sorted((start, size, section.type.name) for start, size, section in ranges if size)
    for (start, size, name), (following, _, other) in pairwise(filled):
        if start + size > following:
            raise NotATdvf(f"TDVF sections {name} and {other} overlap in the {where}.", _REMEDY)
