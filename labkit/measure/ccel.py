"""The CCEL ACPI table: where firmware tells a TD's kernel that its event log is.

Source: ACPI 6.5, section 5.2.34 (CC Event Log ACPI table).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from labkit.errors import MalformedEventLog
from labkit.show import columns
from labkit.show.fields import field_view, spans

_LAYOUT = struct.Struct("<4sIBB6s8sI4sIBBHQQ")
_NAMES = (
    *("signature", "length", "revision", "checksum", "oem_id", "oem_table_id", "oem_revision", "creator_id"),
    *("creator_revision", "cc_type", "cc_subtype", "reserved", "log_length", "log_address"),
)
_SIZES = (4, 4, 1, 1, 6, 8, 4, 4, 4, 1, 1, 2, 8, 8)
_REMEDY = "Read it from /sys/firmware/acpi/tables/CCEL of the guest."
_TDX = 2


@dataclass(frozen=True)
class CcelTable:
    """The 56 bytes of the table. ``length`` and ``address`` tell where the log area is in guest memory."""

    revision: int
    oem_id: bytes
    oem_table_id: bytes
    oem_revision: int
    creator_id: bytes
    creator_revision: int
    cc_subtype: int
    length: int
    address: int

    def encode(self) -> bytes:
        """The table with its checksum."""
        plain = self._pack(0)
        return self._pack(-sum(plain) & 0xFF)

    def _pack(self, checksum: int) -> bytes:
        return _LAYOUT.pack(
            b"CCEL",
            _LAYOUT.size,
            self.revision,
            checksum,
            self.oem_id,
            self.oem_table_id,
            self.oem_revision,
            self.creator_id,
            self.creator_revision,
            _TDX,
            self.cc_subtype,
            0,
            self.length,
            self.address,
        )

    def to_dict(self) -> dict[str, Any]:
        """What a person asks of the table."""
        return {
            "cc_type": "tdx",
            "cc_subtype": self.cc_subtype,
            "length": self.length,
            "address": self.address,
        }

    def __str__(self) -> str:
        return columns(self._rows())

    def _repr_html_(self) -> str:
        return field_view(spans(zip(_NAMES, _split(self.encode()), strict=True)))

    def _rows(self) -> list[tuple[str, str]]:
        return [
            ("confidential computing type", f"TDX, subtype {self.cc_subtype}"),
            ("log area address", f"{self.address:#x}"),
            ("log area length", f"{self.length:#x}"),
        ]


def _split(data: bytes) -> list[bytes]:
    ends = list(accumulate(_SIZES))
    return [data[end - size : end] for end, size in zip(ends, _SIZES, strict=True)]


def parse_ccel_table(data: bytes) -> CcelTable:
    """Read the ACPI table strictly: length, checksum, TDX, reserved bytes.

    Raises:
        MalformedEventLog: one of them is wrong.
    """
    if len(data) != _LAYOUT.size:
        raise MalformedEventLog(f"The CCEL table has {_LAYOUT.size} bytes; this has {len(data)}.", _REMEDY)
    signature, length, revision, _, oem, oem_table, oem_revision, creator, creator_revision, *rest = (
        _LAYOUT.unpack(data)
    )
    cc_type, subtype, reserved, area, address = rest
    if signature != b"CCEL" or length != _LAYOUT.size or sum(data) & 0xFF:
        raise MalformedEventLog("The CCEL table has a wrong signature, length or checksum.", _REMEDY)
    if cc_type != _TDX or reserved:
        raise MalformedEventLog(f"The CCEL table is of type {cc_type}, not that of TDX.", _REMEDY)
    return CcelTable(
        revision, oem, oem_table, oem_revision, creator, creator_revision, subtype, area, address
    )
