"""Virtio devices outside of QEMU, honest until told to lie: entropy and disks, for any guest."""

from __future__ import annotations

from labkit.virtio.devices import Disk

__all__ = [
    "Disk",
]
