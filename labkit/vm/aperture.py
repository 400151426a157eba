"""Where OVMF puts the 64-bit windows of PCI devices; QEMU writes the place into its ACPI tables.

Source: edk2 ``OvmfPkg/Library/PlatformInitLib/MemDetect.c`` (``PlatformAddressWidthInitialization``). Found
equal to boots of edk2 2025.02 and 2026.08 under TCG, whose CPU is AMD's with 40 bits.
"""

from __future__ import annotations

import struct

_GIB = 1 << 30
_CLASSIC = 32 * _GIB
_RAM = 1
_E820 = struct.Struct("<QQI")
# A CPU's width is believed from 41 bits on, or where it is one that its vendor made.
_MADE = {"GenuineIntel": (36, 39), "AuthenticAMD": (40,)}
_MOST_BITS = 46


def pci_aperture(address_bits: int, vendor: str, e820: bytes) -> int:
    """The guest address where the aperture begins.

    address_bits, vendor: of the virtual CPU. e820: QEMU's memory map, its fw_cfg file ``etc/e820``.
    """
    entries = list(_E820.iter_unpack(e820))
    memory_end = max((base + size for base, size, kind in entries if kind == _RAM), default=0)
    classic = -(-max(memory_end, 4 * _GIB) // _CLASSIC) * _CLASSIC
    if address_bits <= 40 and address_bits not in _MADE.get(vendor, ()):
        return classic
    end = 1 << min(address_bits, _MOST_BITS)
    size = end // 8
    if size <= _CLASSIC or classic + size >= end:
        return classic
    start = end - size
    for base, length, _ in entries:
        if max(base, start) < min(base + length, start + size):
            start = (base - size) & ~(size - 1)
    return start
