"""A bzImage made for the tests: a Linux set-up header inside a signed PE image."""

from __future__ import annotations

import struct

PE = 0x80
OPTIONAL = PE + 24
TABLE = OPTIONAL + 240
HEADERS = 0x400
SIGNATURE = b"signature!" * 4


def kernel(fill: int = 7, *, above_4g: bool = True, protocol: int = 0x20F) -> bytes:
    """Two sections out of order in the table, bytes behind them, a signature at the end."""
    image = bytearray(HEADERS)
    image[0:2] = b"MZ"
    struct.pack_into("<I", image, 0x3C, PE)
    image[PE : PE + 4] = b"PE\0\0"
    struct.pack_into("<HH", image, PE + 4, 0x8664, 2)
    struct.pack_into("<H", image, PE + 20, TABLE - OPTIONAL)
    struct.pack_into("<H", image, OPTIONAL, 0x20B)
    struct.pack_into("<I", image, OPTIONAL + 60, HEADERS)
    struct.pack_into("<I", image, OPTIONAL + 64, 0x12345678)
    struct.pack_into("<I", image, OPTIONAL + 108, 6)
    total = HEADERS + 0x300 + 0x500 + 0x20
    struct.pack_into("<II", image, OPTIONAL + 144, total, len(SIGNATURE))
    for number, (offset, size) in enumerate(((HEADERS + 0x300, 0x500), (HEADERS, 0x300))):
        struct.pack_into("<II", image, TABLE + 40 * number + 16, size, offset)
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, protocol)
    struct.pack_into("<I", image, 0x22C, 0x7FFF_FFFF)
    struct.pack_into("<H", image, 0x236, 2 if above_4g else 0)
    body = bytes((number * fill) & 0xFF for number in range(0x800 + 0x20))
    return bytes(image) + body + SIGNATURE
