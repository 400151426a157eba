"""What is known of Asterinas: its versions, its boot images, and the machine and files that they need."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from labkit.asterinas.boot_image import BootImage, recognize_image
from labkit.asterinas.kept import find_image, keep_image, kept_images
from labkit.asterinas.recorded import recorded_asterinas
from labkit.asterinas.versions import PROFILES, Profile, choose_profile, profile

if TYPE_CHECKING:
    from labkit.asterinas.fetch import fetch_image

__all__ = [
    "PROFILES",
    "BootImage",
    "Profile",
    "choose_profile",
    "fetch_image",
    "find_image",
    "keep_image",
    "kept_images",
    "profile",
    "recognize_image",
    "recorded_asterinas",
]

# Loaded on first use: reading a release over the network takes libraries that no boot needs.
_LATER = {"fetch_image": "fetch"}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"labkit.asterinas.{_LATER[name]}"), name)
    raise AttributeError(f"module 'labkit.asterinas' has no attribute {name!r}")
