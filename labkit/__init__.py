"""labkit: reproducible lab notebooks for confidential computing with Intel TDX and Asterinas."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# The notebook verbs are loaded on first use: `import labkit` must stay cheap.
__all__ = ["__version__", "lab"]


def __getattr__(name: str) -> Any:
    if name == "lab":
        return import_module("labkit.lab")
    raise AttributeError(f"module 'labkit' has no attribute {name!r}")
