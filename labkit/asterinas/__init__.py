"""What is known of Asterinas: its versions, its boot images, and the machine and files that they need."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from labkit.asterinas._asterinas_guest import DIRECT_MEMORY, FIRMWARE_MEMORY, AsterinasGuest, asked_console
from labkit.asterinas._asterinas_guest import board as asterinas_machine
from labkit.asterinas._asterinas_guest import command_line as asterinas_command_line
from labkit.asterinas._boot_image import EM_X86_64, BootImage, ImageKind, recognize_image
from labkit.asterinas._kept import (
    GuestHere,
    ImageTable,
    KeptImage,
    find_image,
    guest_here,
    keep_image,
    kept_images,
    parse_guest,
)
from labkit.asterinas._recorded import Recorded, recorded_asterinas
from labkit.asterinas._rootfs import build_asterinas_initramfs
from labkit.asterinas._versions import (
    DOCUMENTED,
    PROFILES,
    RECOMMENDED,
    Features,
    Profile,
    ProfileTable,
    choose_profile,
    profile,
)

if TYPE_CHECKING:
    from labkit.asterinas._fetch import fetch_image, kernel_in

__all__ = [
    "DIRECT_MEMORY",
    "DOCUMENTED",
    "EM_X86_64",
    "FIRMWARE_MEMORY",
    "PROFILES",
    "RECOMMENDED",
    "AsterinasGuest",
    "BootImage",
    "Features",
    "GuestHere",
    "ImageKind",
    "ImageTable",
    "KeptImage",
    "Profile",
    "ProfileTable",
    "Recorded",
    "asked_console",
    "asterinas_command_line",
    "asterinas_machine",
    "build_asterinas_initramfs",
    "choose_profile",
    "fetch_image",
    "find_image",
    "guest_here",
    "keep_image",
    "kept_images",
    "kernel_in",
    "parse_guest",
    "profile",
    "recognize_image",
    "recorded_asterinas",
]

# Loaded on first use: reading a release over the network takes libraries that no boot needs.
_LATER = {"fetch_image": "_fetch", "kernel_in": "_fetch"}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"labkit.asterinas.{_LATER[name]}"), name)
    raise AttributeError(f"module 'labkit.asterinas' has no attribute {name!r}")
