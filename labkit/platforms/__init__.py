"""Where a TDVM runs: real hardware or the emulated platform."""

from __future__ import annotations

from labkit.platforms._choose import PlatformName, choose_platform
from labkit.platforms._emulated import DEFAULT_MEMORY, BootRequest, EmulatedPlatform
from labkit.platforms._measurements import Comparison, Measurements, compare, parse_measurements
from labkit.platforms._tdvm import Tdvm

__all__ = [
    "DEFAULT_MEMORY",
    "BootRequest",
    "Comparison",
    "EmulatedPlatform",
    "Measurements",
    "PlatformName",
    "Tdvm",
    "choose_platform",
    "compare",
    "parse_measurements",
]
