"""What a Linux guest is made of: its initramfs, its kernel image, and what its boot log says."""

from __future__ import annotations

from labkit.guest._cpio import Entry
from labkit.guest._cpio import archive as cpio_archive
from labkit.guest._cpio import directory as cpio_directory
from labkit.guest._cpio import file as cpio_file
from labkit.guest._cpio import link as cpio_link
from labkit.guest._drivers import driver_archive
from labkit.guest._initramfs import COMMAND_LINE, build_initramfs, shell_port
from labkit.guest._kernel_image import check_kernel
from labkit.guest._reseed import renewal
from labkit.guest._types import LINUX, SHELL_PROMPT

__all__ = [
    "COMMAND_LINE",
    "LINUX",
    "SHELL_PROMPT",
    "Entry",
    "build_initramfs",
    "check_kernel",
    "cpio_archive",
    "cpio_directory",
    "cpio_file",
    "cpio_link",
    "driver_archive",
    "renewal",
    "shell_port",
]
