"""What a boot needs from this system: found by content, and installed where it is missing."""

from __future__ import annotations

from labkit.toolchain.provision import install as install_toolchain
from labkit.toolchain.toolchain import Firmware, Program, Toolchain
from labkit.toolchain.toolchain import find as find_toolchain
from labkit.toolchain.toolchain import inventory as toolchain_inventory

__all__ = [
    "Firmware",
    "Program",
    "Toolchain",
    "find_toolchain",
    "install_toolchain",
    "toolchain_inventory",
]
