"""The documented Asterinas flow: its development container, and the engine that runs it."""

from __future__ import annotations

from labkit.asterinas._engine import Engine, find_engine

__all__ = ["Engine", "find_engine"]
