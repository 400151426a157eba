"""The Jupyter kernel that runs cells inside the guest."""

from __future__ import annotations

from labkit.kernel.installing import install

__all__ = ["install"]
