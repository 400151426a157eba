"""Which rules of prediction a firmware and a QEMU follow: read from the firmware file and QEMU's version."""

from __future__ import annotations

import lzma
import struct
import uuid
from functools import lru_cache

from labkit.measure import Rules
from labkit.toolchain import Program

# The GUIDed section of the UEFI Platform Initialization specification whose data is compressed with LZMA.
_LZMA_SECTION = uuid.UUID("ee4e5898-3914-4259-9d6e-dc7bd79403cf").bytes_le
_LARGEST = 64 << 20
# The folder of fw_cfg with QEMU's untouched kernel; a firmware that knows it is of 2025 or later.
_UNTOUCHED_KERNEL = b"etc/boot/"
_OLD, _MODERN = (2022, 11), (2025, 2)


def rules_of(image: bytes, qemu: Program) -> Rules:
    """The rules for one firmware image under one QEMU.

    Of newer firmware only the mark is known, from edk2's source; the mark's absence was checked on 2022.11.
    """
    return Rules.emulated(_MODERN if _knows_untouched_kernel(image) else _OLD, qemu.version)


@lru_cache(maxsize=4)
def _knows_untouched_kernel(image: bytes) -> bool:
    at = image.find(_LZMA_SECTION)
    while at >= 0:
        (offset,) = struct.unpack_from("<H", image, at + 16) if at + 18 <= len(image) else (0,)
        # The section begins four bytes before its GUID.
        data = image[at - 4 + offset :]
        try:
            if _UNTOUCHED_KERNEL in lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data, _LARGEST):
                return True
        except lzma.LZMAError:
            pass
        at = image.find(_LZMA_SECTION, at + 1)
    return False
