"""The documented Asterinas flow in its development container: engine, source, image, run."""

from __future__ import annotations

from labkit.container.engine import Engine, find_engine
from labkit.container.flow import RunResult, start_run
from labkit.container.plan import RunRequest
from labkit.container.previewing import preview

__all__ = [
    "Engine",
    "RunRequest",
    "RunResult",
    "find_engine",
    "preview",
    "start_run",
]
