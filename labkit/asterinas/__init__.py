"""What is known of Asterinas: its versions, its boot images, and the machine and files that they need."""

from __future__ import annotations

from labkit.asterinas.kept import KernelCache
from labkit.asterinas.versions import Profile

__all__ = ["KernelCache", "Profile"]
