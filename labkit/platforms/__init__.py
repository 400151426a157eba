"""Where a TDVM runs: real hardware or the emulated platform."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.later import later
from labkit.platforms._choose import choose_platform
from labkit.platforms._platform import TdvmPlatform
from labkit.platforms._tdvm import Tdvm
from labkit.platforms.request import BootRequest

if TYPE_CHECKING:
    from labkit.platforms.attestation import Attestation, fresh_nonce

__all__ = [
    "Attestation",
    "BootRequest",
    "Tdvm",
    "TdvmPlatform",
    "choose_platform",
    "fresh_nonce",
]

# Loaded on first use: their libraries take longer to import than a warm boot, and most boots need none.
__getattr__ = later(
    __name__,
    {
        "Attestation": "attestation",
        "fresh_nonce": "attestation",
    },
)
