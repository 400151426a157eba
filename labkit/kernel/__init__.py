"""The Jupyter kernel that runs cells inside the guest."""

from __future__ import annotations

from labkit.kernel._host import ALLOW, REFUSAL
from labkit.kernel._install import NAME, install, kernelspec

__all__ = ["ALLOW", "NAME", "REFUSAL", "install", "kernelspec"]
