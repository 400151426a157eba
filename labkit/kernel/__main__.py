"""``python -m labkit.kernel -f CONNECTION_FILE``: what the kernelspec starts."""

from __future__ import annotations

import sys

from labkit.kernel._start import start
from labkit.settings import Settings

_SWITCH = 0.0005
"""Seconds after which a thread that computes lets another go on; Python's own 5 ms, at each of the hundred
answers that the boot waits for while Jupyter is imported, made half a second."""


def main() -> None:
    """Begin to boot, and import the rest meanwhile."""
    sys.setswitchinterval(_SWITCH)
    starting = start(Settings.load())
    from labkit.kernel._app import run

    run(starting)


if __name__ == "__main__":
    main()
