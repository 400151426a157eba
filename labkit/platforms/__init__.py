"""Where a TDVM runs: real hardware or the emulated platform."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.later import later
from labkit.platforms._choose import choose_platform
from labkit.platforms._platform import TdvmPlatform
from labkit.platforms._tdvm import Tdvm
from labkit.platforms.request import BootRequest

if TYPE_CHECKING:
    from labkit.platforms.attestation import Attestation, attest_evidence, fresh_nonce
    from labkit.platforms.evidence import load_evidence
    from labkit.platforms.many import boot_many
    from labkit.platforms.measurements import Measurements, compare

__all__ = [
    "Attestation",
    "BootRequest",
    "Measurements",
    "Tdvm",
    "TdvmPlatform",
    "attest_evidence",
    "boot_many",
    "choose_platform",
    "compare",
    "fresh_nonce",
    "load_evidence",
]

# Loaded on first use: their libraries take longer to import than a warm boot, and most boots need none.
__getattr__ = later(
    __name__,
    {
        "Measurements": "measurements",
        "compare": "measurements",
        "Attestation": "attestation",
        "attest_evidence": "attestation",
        "boot_many": "many",
        "fresh_nonce": "attestation",
        "load_evidence": "evidence",
    },
)
