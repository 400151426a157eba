"""Many runs of one notebook: a table of parameters, workers near and far, a table of results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.later import later

if TYPE_CHECKING:
    from labkit.studies._page import publish_sweep, read_sweep, sweep_live
    from labkit.studies._plan import plan
    from labkit.studies._sweep import SweepOptions, sweep

__all__ = [
    "SweepOptions",
    "plan",
    "publish_sweep",
    "read_sweep",
    "sweep",
    "sweep_live",
]

# Loaded on first use: what records a value in a notebook needs no workers.
__getattr__ = later(
    __name__,
    {
        "SweepOptions": "_sweep",
        "plan": "_plan",
        "publish_sweep": "_page",
        "read_sweep": "_page",
        "sweep": "_sweep",
        "sweep_live": "_page",
    },
)
