"""Small TDVF images made for the tests."""

from __future__ import annotations

import struct
import uuid

Row = tuple[int, int, int, int, int, int]

FOOTER = uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
OFFSET = uuid.UUID("e47a6535-984a-4798-865e-4685a7bf8ec2").bytes_le
DESCRIPTOR = uuid.UUID("e9eaf9f3-168e-44d5-a8eb-7f4d8738f6ae").bytes_le
BFV, CFV, TD_HOB, TEMP_MEM, PERM_MEM = 0, 1, 2, 3, 4

# data offset, raw size, GPA, memory size, type, attributes
ROWS: tuple[Row, ...] = (
    (0x1000, 0x3000, 0xFFFFD000, 0x3000, BFV, 1),
    (0, 0x1000, 0xFFFFC000, 0x1000, CFV, 0),
    (0, 0, 0x810000, 0x2000, TEMP_MEM, 0),
    (0, 0, 0x809000, 0x2000, TD_HOB, 0),
)


def entry(guid: bytes, content: bytes) -> bytes:
    return content + struct.pack("<H", len(content) + 18) + guid


def image(
    rows: tuple[Row, ...] = ROWS,
    size: int = 0x4000,
    *,
    version: int = 1,
    length: int | None = None,
    guid: bytes = DESCRIPTOR,
    offset_content: bytes | None = None,
) -> bytes:
    """A firmware file of ``size`` bytes with a TDVF table in front of its table of GUIDs."""
    table = struct.pack("<4sIII", b"TDVF", length or 16 + 32 * len(rows), version, len(rows))
    table += b"".join(struct.pack("<IIQQII", *row) for row in rows)
    other = entry(uuid.UUID(int=1).bytes_le, b"something else")
    tail_size = len(other) + 4 + 18 + 18 + 0x20
    distance = len(table) + tail_size
    entries = entry(OFFSET, struct.pack("<I", distance) if offset_content is None else offset_content) + other
    tail = guid + table + entries + struct.pack("<H", len(entries) + 18) + FOOTER + bytes(0x20)
    body = bytes((i * 7 + i // 251) & 0xFF for i in range(size - len(tail)))
    return body + tail


def shim(rows: tuple[Row, ...] = ROWS, size: int = 0x4000, *, guid: bytes = DESCRIPTOR) -> bytes:
    """A td-shim image: no table of GUIDs, but the descriptor's offset 0x20 bytes before the end."""
    table = struct.pack("<4sIII", b"TDVF", 16 + 32 * len(rows), 1, len(rows))
    table += b"".join(struct.pack("<IIQQII", *row) for row in rows)
    at = size - 0x400
    body = bytearray((i * 5 + i // 253) & 0xFF for i in range(size))
    body[at - 16 : at + len(table)] = guid + table
    body[-0x20:] = struct.pack("<I", at) + bytes(28)
    return bytes(body)
