"""What is known of Asterinas: its versions, its boot images, and the machine and files that they need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.asterinas.boot_image import BootImage
from labkit.asterinas.kept import KernelCache
from labkit.asterinas.recorded import recorded_asterinas
from labkit.asterinas.versions import PROFILES, Profile
from labkit.later import later

if TYPE_CHECKING:
    from labkit.asterinas.fetch import fetch_image

__all__ = [
    "PROFILES",
    "BootImage",
    "KernelCache",
    "Profile",
    "fetch_image",
    "recorded_asterinas",
]

# Loaded on first use: reading a release over the network takes libraries that no boot needs.
__getattr__ = later(__name__, {"fetch_image": "fetch"})
