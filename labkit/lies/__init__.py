"""What guests make of a host that lies through virtio devices: booted, and recorded where one cannot be."""

from __future__ import annotations

from labkit.lies._findings import Findings, LieFinding, record_of, recorded
from labkit.lies._meet import GUESTS, meet, meet_each
from labkit.lies.findings import Findings
from labkit.lies.meeting import meet

__all__ = ["GUESTS", "Findings", "LieFinding", "meet", "meet_each", "record_of", "recorded"]
__all__ = ["Findings", "meet"]
