"""The boot options that OVMF makes by itself, as it measures them (UEFI 2.10, section 3.1.3)."""

from __future__ import annotations

import struct
import uuid

_DXE_VOLUME = uuid.UUID("7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1").bytes_le
_UI_APP = uuid.UUID("462caa21-7614-4503-836e-8ab6f4662331").bytes_le
_BOOT_MENU = uuid.UUID("eec25bdc-67f2-4d95-b1d5-f81b2039d11d").bytes_le
_SHELL = uuid.UUID("7c04a583-9e3e-4f1c-ad65-e05268d0b4d1").bytes_le
_AUTO_CREATED = uuid.UUID("8108ac4e-9f11-4d59-850e-e21a522c59b2").bytes_le
_END_OF_PATH = b"\x7f\xff\x04\x00"
_ACTIVE, _HIDDEN, _APP = 0x1, 0x8, 0x100


def own_options(*, set_up: bool = False) -> tuple[bytes, ...]:
    """What a machine without disks offers, in boot order: the firmware's own applications.

    set_up: boot menu and set-up are two of them, as from edk2 2025.05 on; before, UiApp was both.
    """
    if not set_up:
        return (_load_option(_ACTIVE | _HIDDEN | _APP, "UiApp", _in_volume(_UI_APP)),)
    return (
        _load_option(_ACTIVE | _HIDDEN | _APP, "BootManagerMenuApp", _in_volume(_BOOT_MENU)),
        _load_option(_ACTIVE | _APP, "EFI Firmware Setup", _in_volume(_UI_APP)),
    )


def disc_options(*, set_up: bool = False) -> tuple[bytes, ...]:
    """The boot options of a q35 with one CD-ROM drive on its third SATA port (``index=2``), in boot order.

    A machine that finds a disk offers the shell as well. The last 16 bytes of the disc's mark what the
    firmware made by itself (edk2 ``MdeModulePkg/Library/UefiBootManagerLib/BmBoot.c``).
    """
    sata = bytes.fromhex("02010c00d041030a00000000 01010600021f 03120a000200ffff0000") + _END_OF_PATH
    disc = _load_option(_ACTIVE, "UEFI QEMU DVD-ROM QM00005 ", sata) + _AUTO_CREATED
    kind = _ACTIVE | _APP if set_up else _ACTIVE
    return *own_options(set_up=set_up), disc, _load_option(kind, "EFI Internal Shell", _in_volume(_SHELL))


def _in_volume(file: bytes) -> bytes:
    """The device path of a file of the firmware's own volume."""
    return b"\x04\x07\x14\x00" + _DXE_VOLUME + b"\x04\x06\x14\x00" + file + _END_OF_PATH


def _load_option(attributes: int, name: str, path: bytes) -> bytes:
    return struct.pack("<IH", attributes, len(path)) + f"{name}\0".encode("utf-16-le") + path
