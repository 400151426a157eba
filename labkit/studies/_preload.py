"""Loaded by the workers of a local cluster: Ctrl-C is for the sweep, which then ends them."""

from __future__ import annotations

import gc
import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Called by Dask in each new worker's process, in its main thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()  # what a fork has from its parent is no garbage, and stays shared
    gc.enable()
