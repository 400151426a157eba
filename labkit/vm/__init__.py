"""Virtual machines: what to boot, QEMU, its console, snapshots and timeline."""

from __future__ import annotations

from labkit.vm._provision import install as install_toolchain
from labkit.vm._toolchain import Component, Firmware, Inventory, Program, Toolchain
from labkit.vm._toolchain import find as find_toolchain
from labkit.vm._toolchain import inventory as toolchain_inventory

__all__ = [
    "Component",
    "Firmware",
    "Inventory",
    "Program",
    "Toolchain",
    "find_toolchain",
    "install_toolchain",
    "toolchain_inventory",
]
