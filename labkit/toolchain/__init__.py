"""What a boot needs from this system: found by content, and installed where it is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.toolchain.toolchain import find as find_toolchain
from labkit.toolchain.toolchain import inventory as toolchain_inventory

if TYPE_CHECKING:
    from labkit.toolchain.provision import install as install_toolchain

__all__ = [
    "find_toolchain",
    "install_toolchain",
    "toolchain_inventory",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use: what fetches takes libraries that no boot needs.
    if name == "install_toolchain":
        from labkit.toolchain.provision import install

        return install
    raise AttributeError(f"module 'labkit.toolchain' has no attribute {name!r}")
