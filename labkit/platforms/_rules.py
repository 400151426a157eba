"""Which rules of prediction a firmware and a QEMU follow: read from the firmware file and QEMU's version."""

from __future__ import annotations

import lzma
import re
import struct
import uuid
from functools import lru_cache

from labkit import process
from labkit.measure import Rules
from labkit.vm import Program

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
    return Rules.emulated(_MODERN if _knows_untouched_kernel(image) else _OLD, _version(qemu))


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


@lru_cache(maxsize=4)
def _version_text(argv: tuple[str, ...], env: tuple[tuple[str, str], ...]) -> str:
    return process.run(argv, timeout=20, env=dict(env)).text


def _version(qemu: Program) -> tuple[int, int]:
    """Major and minor version; 0.0 where QEMU does not say it, which counts as old."""
    text = _version_text(qemu.argv("--version"), tuple(qemu.environ().items()))
    found = re.search(r"version (\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
