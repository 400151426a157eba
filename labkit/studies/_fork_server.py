"""Loaded first by the process whose forks the workers are: what it loads stays, so it looks for no garbage.

That took a fifth of the time that the loading takes. The workers look again, `_preload` says.
"""

from __future__ import annotations

import gc

gc.disable()
