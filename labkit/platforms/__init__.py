"""Where a TDVM runs: real hardware or the emulated platform."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from labkit.platforms._choose import PlatformName, choose_platform
from labkit.platforms._emulated import EmulatedPlatform
from labkit.platforms._measurements import Comparison, Measurements, compare, parse_measurements
from labkit.platforms._plan import DEFAULT_MEMORY, BootRequest, Plan
from labkit.platforms._platform import Platform
from labkit.platforms._tdvm import Tdvm

if TYPE_CHECKING:
    from labkit.platforms._attest import Attestation, attest_tdvm, emulated_policy, fresh_nonce
    from labkit.platforms._evidence import REPORT_DATA, Evidence, check_nonce
    from labkit.platforms._hardware import HardwarePlatform, td_spec
    from labkit.platforms._tsm import TsmReport, read_tsm

__all__ = [
    "DEFAULT_MEMORY",
    "REPORT_DATA",
    "Attestation",
    "BootRequest",
    "Comparison",
    "EmulatedPlatform",
    "Evidence",
    "HardwarePlatform",
    "Measurements",
    "Plan",
    "Platform",
    "PlatformName",
    "Tdvm",
    "TsmReport",
    "attest_tdvm",
    "check_nonce",
    "choose_platform",
    "compare",
    "emulated_policy",
    "fresh_nonce",
    "parse_measurements",
    "read_tsm",
    "td_spec",
]

# Loaded on first use: their libraries take longer to import than a warm boot, and most boots need none.
_LATER = {
    "REPORT_DATA": "_evidence",
    "Attestation": "_attest",
    "Evidence": "_evidence",
    "HardwarePlatform": "_hardware",
    "TsmReport": "_tsm",
    "attest_tdvm": "_attest",
    "check_nonce": "_evidence",
    "emulated_policy": "_attest",
    "fresh_nonce": "_attest",
    "read_tsm": "_tsm",
    "td_spec": "_hardware",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"labkit.platforms.{_LATER[name]}"), name)
    raise AttributeError(f"module 'labkit.platforms' has no attribute {name!r}")
