"""Pages that come alive: chapters and tools that run in the reader's browser, with nothing installed."""

from __future__ import annotations

from labkit.live._site import make_live

__all__ = ["make_live"]
