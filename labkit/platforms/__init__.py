"""Where a TDVM runs: real hardware or the emulated platform."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from labkit.platforms._choose import choose_platform
from labkit.platforms._emulated import EmulatedPlatform
from labkit.platforms._measurements import (
    Comparison,
    Measurements,
    Told,
    compare,
    parse_told,
)
from labkit.platforms._platform import TdvmPlatform
from labkit.platforms._request import BootPlan, BootRequest, measured_through_loader
from labkit.platforms._tdvm import Tdvm

if TYPE_CHECKING:
    from labkit.platforms._attest import (
        Attestation,
        attest_evidence,
        attest_tdvm,
        emulated_policy,
        fresh_nonce,
    )
    from labkit.platforms._evidence import REPORT_DATA, Evidence, check_nonce, load_evidence
    from labkit.platforms._hardware import HardwarePlatform, td_spec
    from labkit.platforms._many import Tdvms, boot_many
    from labkit.platforms._tsm import hardware_evidence, read_tsm, run_here

__all__ = [
    "REPORT_DATA",
    "Attestation",
    "BootPlan",
    "BootRequest",
    "Comparison",
    "EmulatedPlatform",
    "Evidence",
    "HardwarePlatform",
    "Measurements",
    "Tdvm",
    "TdvmPlatform",
    "Tdvms",
    "Told",
    "attest_evidence",
    "attest_tdvm",
    "boot_many",
    "check_nonce",
    "choose_platform",
    "compare",
    "emulated_policy",
    "fresh_nonce",
    "hardware_evidence",
    "load_evidence",
    "measured_through_loader",
    "parse_told",
    "read_tsm",
    "run_here",
    "td_spec",
]

# Loaded on first use: their libraries take longer to import than a warm boot, and most boots need none.
_LATER = {
    "REPORT_DATA": "_evidence",
    "Attestation": "_attest",
    "Evidence": "_evidence",
    "HardwarePlatform": "_hardware",
    "Tdvms": "_many",
    "attest_evidence": "_attest",
    "attest_tdvm": "_attest",
    "boot_many": "_many",
    "check_nonce": "_evidence",
    "emulated_policy": "_attest",
    "fresh_nonce": "_attest",
    "hardware_evidence": "_tsm",
    "load_evidence": "_evidence",
    "read_tsm": "_tsm",
    "run_here": "_tsm",
    "td_spec": "_hardware",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"labkit.platforms.{_LATER[name]}"), name)
    raise AttributeError(f"module 'labkit.platforms' has no attribute {name!r}")
