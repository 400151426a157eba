"""``python -m labkit.kernel -f CONNECTION_FILE``: what the kernelspec starts."""

from __future__ import annotations

from labkit.kernel._start import start
from labkit.settings import Settings


def main() -> None:
    """Begin to boot, and import the rest meanwhile."""
    starting = start(Settings.load())
    from labkit.kernel._app import run

    run(starting)


if __name__ == "__main__":
    main()
