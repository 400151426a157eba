"""What guests make of a host that lies through virtio devices: booted, and recorded where one cannot be."""

from __future__ import annotations

from labkit.lies.findings import Findings
from labkit.lies.meeting import meet, meet_each

__all__ = ["Findings", "meet", "meet_each"]
