"""Loaded first by the process whose forks the workers are.

What it loads stays, so it looks for no garbage: that took a fifth of the time that the loading takes. The
workers look again, `_preload` says. It is started with Ctrl-C blocked; what its workers start shall hear it.
"""

from __future__ import annotations

import gc
import signal

gc.disable()
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
