"""What an OVMF's own code says of the rules that it follows, where versions of edk2 differ.

The code is in a compressed volume of the image. No version number decides: distributions carry patches, and
most builds have none. Each mark was checked on edk2 2022.11, 2025.02 and 2026.08 of Debian and 2022.02,
2024.02, 2025.02 and 2025.11 of Ubuntu.
"""

from __future__ import annotations

import re
import struct
import uuid
from dataclasses import dataclass
from functools import lru_cache

from labkit.measure.smbios import LeftOut, SmbiosRules

# The GUIDed section of the UEFI Platform Initialization specification whose data is compressed with LZMA.
_LZMA_SECTION = uuid.UUID("ee4e5898-3914-4259-9d6e-dc7bd79403cf").bytes_le
_LARGEST = 64 << 20
# The text of the events of ``OvmfPkg/AcpiPlatformDxe``.
_ACPI = b"ACPI DATA\0"
# The folder of fw_cfg with QEMU's untouched kernel (edk2 2025).
_UNTOUCHED_KERNEL = b"etc/boot/"
# ``OvmfPkg/Library/GenericQemuLoadImageLib``: the word before the command line, and no longer behind it.
_WORD_FIRST = b"\0initrd=initrd \0"
# The name of the second boot option of edk2 2025.05 and later.
_SET_UP = "EFI Firmware Setup\0".encode("utf-16-le")
# The variable of ``SecurityPkg/Library/AuthVariableLib``, which a build without Secure Boot does not have.
_AUTHENTICATED = "certdb\0".encode("utf-16-le")
# ``OvmfPkg/SmbiosPlatformDxe``: what it says of itself where QEMU says nothing (type 0), and then, each at an
# address of its own, date, version and vendor.
_BIOS = bytes.fromhex("001a0000 01 02 00e8 03 00 0800000000000000 001c 0000 ffff 0000")
_TEXT = rb"(?:[ -~]\0)+\0\0"
_BIOS_TEXTS = re.compile(rb".{0,32}?(%b).{0,32}?(%b).{0,32}?(%b)" % (_TEXT, _TEXT, _TEXT), re.DOTALL)
# An entry of SmbiosMeasurementDxe's lists: type, offset, size, and whether the field is a string's number.
_FIELD = struct.Struct("<B7xQQI4x")
_SERIAL_NUMBER = _FIELD.pack(1, 7, 1, 1)


@dataclass(frozen=True)
class OvmfCode:
    """Where versions of edk2 differ in what they measure.

    acpi: it measures QEMU's ACPI tables. untouched_kernel: and the kernel's file as it is, where QEMU offers
    that. word_first: the word
    ``initrd=initrd`` stands before the command line. set_up: it offers its boot menu and its set-up, not one
    for both. secure_boot: it was built with Secure Boot, which need not be in force.
    smbios: how it measures the SMBIOS tables; None where it does not.
    """

    acpi: bool = False
    untouched_kernel: bool = False
    word_first: bool = False
    set_up: bool = False
    secure_boot: bool = False
    smbios: SmbiosRules | None = None


OLDEST = OvmfCode(secure_boot=True)
"""The code of edk2 2022.11, as far as it is looked at."""


@lru_cache(maxsize=4)
def read_ovmf(image: bytes) -> OvmfCode:
    """Look into a firmware image; one without OVMF's code counts as the oldest."""
    at = image.find(_LZMA_SECTION)
    while at >= 0:
        if (code := _decompressed(image, at)) is not None:
            return OvmfCode(
                acpi=_ACPI in code,
                untouched_kernel=_UNTOUCHED_KERNEL in code,
                word_first=_WORD_FIRST in code,
                set_up=_SET_UP in code,
                secure_boot=_AUTHENTICATED in code,
                smbios=_smbios(code),
            )
        at = image.find(_LZMA_SECTION, at + 1)
    return OLDEST


def _decompressed(image: bytes, at: int) -> bytes | None:
    # A Python in a browser has none, and reads no firmware's code.
    import lzma

    (offset,) = struct.unpack_from("<H", image, at + 16) if at + 18 <= len(image) else (0,)
    try:
        # The section begins four bytes before its GUID.
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(image[at - 4 + offset :], _LARGEST)
    except lzma.LZMAError:
        return None


def _smbios(code: bytes) -> SmbiosRules | None:
    fields, at = _fields(code), code.find(_BIOS)
    texts = _BIOS_TEXTS.match(code, at + len(_BIOS)) if at >= 0 else None
    if not fields or texts is None:
        return None
    date, version, vendor = (text.decode("utf-16-le").encode("ascii") for text in texts.groups())
    # Each text has its NUL; one more ends the structure.
    return SmbiosRules(_BIOS + vendor + version + date + b"\0", fields)


def _fields(code: bytes) -> tuple[LeftOut, ...]:
    """The entries around the one for a machine's serial number, which stand side by side."""
    first = last = code.find(_SERIAL_NUMBER)
    if first < 0:
        return ()
    while _is_field(code, first - _FIELD.size):
        first -= _FIELD.size
    while _is_field(code, last):
        last += _FIELD.size
    # The lists of the types stand in the reverse order of their numbers, the fields of one in their own.
    return tuple(
        LeftOut(kind, offset, size, bool(text))
        for kind, offset, size, text in _FIELD.iter_unpack(code[first:last])
    )


def _is_field(code: bytes, at: int) -> bool:
    if at < 0 or at + _FIELD.size > len(code) or any(code[at + 1 : at + 8]) or any(code[at + 28 : at + 32]):
        return False
    kind, offset, size, text = _FIELD.unpack_from(code, at)
    return bool(kind < 128 and 4 <= offset < 256 and 0 < size <= 64 and text <= 1)
