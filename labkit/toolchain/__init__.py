"""What a boot needs from this system: found by content, and installed where it is missing."""

from __future__ import annotations

from labkit.toolchain._loader import Loader, find_loader
from labkit.toolchain._provision import install as install_toolchain
from labkit.toolchain._toolchain import Component, Firmware, Inventory, Program, Toolchain
from labkit.toolchain._toolchain import find as find_toolchain
from labkit.toolchain._toolchain import inventory as toolchain_inventory

__all__ = [
    "Component",
    "Firmware",
    "Inventory",
    "Loader",
    "Program",
    "Toolchain",
    "find_loader",
    "find_toolchain",
    "install_toolchain",
    "toolchain_inventory",
]
