"""What a Linux guest is made of: its initramfs, its kernel image, and what its boot log says."""

from __future__ import annotations

from labkit.guest.cpio import Entry
from labkit.guest.cpio import archive as cpio_archive
from labkit.guest.initramfs import build_initramfs
from labkit.guest.types import LINUX

__all__ = [
    "LINUX",
    "Entry",
    "build_initramfs",
    "cpio_archive",
]
