"""Where OVMF puts PCI devices' 64-bit windows, by its rule."""

from __future__ import annotations

import struct

import pytest

from labkit.vm.aperture import pci_aperture

GIB = 1 << 30
RAM, RESERVED = 1, 2


def e820(*entries: tuple[int, int, int]) -> bytes:
    return b"".join(struct.pack("<QQI", *entry) for entry in entries)


SMALL = e820((0, GIB // 2, RAM))
# The hole below 1 TiB that QEMU reserves for a CPU of AMD's.
AMD = SMALL + e820((0xFD_0000_0000, 3 * (1 << 32), RESERVED))


@pytest.mark.parametrize(
    ("bits", "vendor", "memory", "start"),
    [
        # Where boots of edk2 2025.02 and 2026.08 under TCG had it.
        (40, "AuthenticAMD", AMD, 0xC0_0000_0000),
        (40, "AuthenticAMD", SMALL, 0xE0_0000_0000),
        (39, "GenuineIntel", SMALL, 448 * GIB),
        (46, "GenuineIntel", SMALL, 7 << 43),
        (52, "GenuineIntel", SMALL, 7 << 43),
        # QEMU's default, which says nothing about the CPU.
        (40, "GenuineIntel", SMALL, 32 * GIB),
        # An eighth of this address space is less than what there always is.
        (36, "GenuineIntel", SMALL, 32 * GIB),
        (36, "GenuineIntel", e820((0, 2 * GIB, RAM), (4 * GIB, 40 * GIB, RAM)), 64 * GIB),
    ],
)
def test_it_begins_where_the_firmware_puts_it(bits: int, vendor: str, memory: bytes, start: int) -> None:
    assert pci_aperture(bits, vendor, memory) == start
