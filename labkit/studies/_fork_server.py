"""Loaded first by the process whose forks the workers are: what it loads stays, so it looks for no garbage there.

A fifth of the time until workers are there went into that. They look again, `_preload` says.
"""

from __future__ import annotations

import gc

gc.disable()
