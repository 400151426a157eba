"""Virtio devices outside of QEMU, honest until told to lie: entropy and disks, for any guest."""

from __future__ import annotations

from labkit.virtio._attached import Attached, Record, Wire, check_devices
from labkit.virtio._devices import SECTOR, Device, Disk, Entropy, text_sectors
from labkit.virtio._lies import FORGED, MEANINGS, Exchange, LieName
from labkit.virtio._process import arguments

__all__ = [
    "FORGED",
    "MEANINGS",
    "SECTOR",
    "Attached",
    "Device",
    "Disk",
    "Entropy",
    "Exchange",
    "LieName",
    "Record",
    "Wire",
    "arguments",
    "check_devices",
    "text_sectors",
]
