"""Where a TDVM runs: real hardware or the emulated platform."""

from __future__ import annotations

from labkit.platforms._choose import PlatformName, choose_platform
from labkit.platforms._emulated import DEFAULT_MEMORY, BootRequest, EmulatedPlatform
from labkit.platforms._measurements import Measurements, parse_measurements
from labkit.platforms._tdvm import Tdvm

__all__ = [
    "DEFAULT_MEMORY",
    "BootRequest",
    "EmulatedPlatform",
    "Measurements",
    "PlatformName",
    "Tdvm",
    "choose_platform",
    "parse_measurements",
]
