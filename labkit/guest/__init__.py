"""What a Linux guest is made of: its initramfs, its kernel image, and what its boot log says."""

from __future__ import annotations

from labkit.guest.cpio import Entry
from labkit.guest.cpio import archive as cpio_archive

__all__ = [
    "Entry",
    "cpio_archive",
]
