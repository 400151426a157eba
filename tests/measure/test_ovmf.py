"""What the code in a firmware image says of the rules that it follows."""

from __future__ import annotations

import lzma
import struct
import uuid

import pytest

from labkit.measure.ovmf import OvmfCode, read_ovmf
from labkit.measure.smbios import LeftOut

BIOS = bytes.fromhex("001a0000 01 02 00e8 03 00 0800000000000000 001c 0000 ffff 0000")
GAP = b"\x66\x0f\x1f\x44\0\0"


def image(code: bytes) -> bytes:
    """A firmware whose compressed volume has this code."""
    packed = lzma.compress(code, lzma.FORMAT_ALONE)
    section = uuid.UUID("ee4e5898-3914-4259-9d6e-dc7bd79403cf").bytes_le + struct.pack("<HH", 24, 1)
    return b"\xff" * 64 + b"\0\0\0\x02" + section + packed


def text(words: str) -> bytes:
    return f"{words}\0".encode("utf-16-le")


def field(kind: int, offset: int, size: int, is_text: int) -> bytes:
    return struct.pack("<B7xQQI4x", kind, offset, size, is_text)


FIELDS = field(4, 17, 1, 0) + field(1, 7, 1, 1) + field(1, 8, 16, 0)
ABOUT_ITSELF = BIOS + GAP + text("09/26/2026") + GAP + text("2026.08") + b"\x66\x90" + text("A vendor")


def test_an_image_without_code_counts_as_the_oldest() -> None:
    oldest = OvmfCode(secure_boot=True)
    assert read_ovmf(b"") == oldest
    assert read_ovmf(uuid.UUID("ee4e5898-3914-4259-9d6e-dc7bd79403cf").bytes_le) == oldest
    assert read_ovmf(image(b"nothing")) == OvmfCode()


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (b"ACPI DATA\0", OvmfCode(acpi=True)),
        (b"etc/boot/", OvmfCode(untouched_kernel=True)),
        (b"\0initrd=initrd \0", OvmfCode(word_first=True)),
        (b"\0 initrd=initrd\0", OvmfCode()),
        (text("EFI Firmware Setup"), OvmfCode(set_up=True)),
        (text("UiApp"), OvmfCode()),
        (text("certdb"), OvmfCode(secure_boot=True)),
        # What measures the variable names it too, in a build that does not have it.
        (text("SecureBoot") + text("SetupMode"), OvmfCode()),
    ],
)
def test_each_mark_is_a_rule(code: bytes, found: OvmfCode) -> None:
    assert read_ovmf(image(b"before" + code + b"behind")) == found


def test_what_is_left_out_of_smbios_and_what_is_added_is_read() -> None:
    rules = read_ovmf(image(b"\xff" * 40 + FIELDS + b"\xff" * 40 + ABOUT_ITSELF)).smbios
    assert rules is not None
    assert rules.bios == BIOS + b"A vendor\0" + b"2026.08\0" + b"09/26/2026\0\0"
    assert rules.left_out == (
        LeftOut(4, 17, 1, text=False),
        LeftOut(1, 7, 1, text=True),
        LeftOut(1, 8, 16, text=False),
    )


@pytest.mark.parametrize("code", [FIELDS, ABOUT_ITSELF, FIELDS + BIOS, FIELDS + BIOS + text("09/26/2026")])
def test_half_of_it_is_not_a_rule(code: bytes) -> None:
    assert read_ovmf(image(b"\xff" * 40 + code)).smbios is None
