"""What a boot needs from this system: found by content, and installed where it is missing."""

from __future__ import annotations

from labkit.toolchain._archive import AFTER_CLAMP, BEFORE_CLAMP, ArchivedKernel, fetch_kernel
from labkit.toolchain._loader import Loader, find_loader
from labkit.toolchain._provision import install as install_toolchain
from labkit.toolchain._toolchain import Component, Firmware, Inventory, Program, Toolchain, modules_of
from labkit.toolchain._toolchain import find as find_toolchain
from labkit.toolchain._toolchain import inventory as toolchain_inventory

__all__ = [
    "AFTER_CLAMP",
    "BEFORE_CLAMP",
    "ArchivedKernel",
    "Component",
    "Firmware",
    "Inventory",
    "Loader",
    "Program",
    "Toolchain",
    "fetch_kernel",
    "find_loader",
    "find_toolchain",
    "install_toolchain",
    "modules_of",
    "toolchain_inventory",
]
