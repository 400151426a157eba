"""Virtio devices outside of QEMU, honest until told to lie: entropy and disks, for any guest."""

from __future__ import annotations

from labkit.virtio.attached import Attached
from labkit.virtio.devices import Device, Disk, Entropy

__all__ = [
    "Attached",
    "Device",
    "Disk",
    "Entropy",
]
