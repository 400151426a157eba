"""``python -m tests.console.bring``: the shells that guests have and this system lacks, into labkit's cache.

Debian 13's busybox behaves in its own way where a cell redefines builtins, so the console's tests run on it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from labkit.errors import LabkitError
from labkit.settings import Settings
from labkit.toolchain._apt import Apt, unpack
from tests.console import shells

SUITE, PACKAGE, SHELL = "trixie", "busybox-static", "busybox 1.37"
MIRROR = "http://deb.debian.org/debian"
"""Where Debian is, for a system that is not itself one."""


def main() -> int:
    """Bring what is missing; 1 where that did not work, and the tests that need it skip."""
    if SHELL in shells.found():
        return 0
    _say(f"fetching {SHELL} of Debian 13, for the tests")
    try:
        with tempfile.TemporaryDirectory() as folder:
            state = Path(folder)
            mirror = Apt(state, _quiet).mirror("Debian") or MIRROR
            sources = state / "sources.list"
            sources.write_text(f"deb {mirror} {SUITE} main\n")
            # apt checks the package by the hash in the suite's signed index.
            apt = Apt(state, _quiet, sources)
            apt.update()
            tree = Settings.load().cache_dir / "test-shells" / SUITE
            tree.parent.mkdir(parents=True, exist_ok=True)
            unpack(apt.fetch_alone([PACKAGE]), tree)
    except LabkitError as error:
        _say(f"{SHELL} could not be brought, and its tests skip: {error.message}")
        return 1
    return 0


def _quiet(_text: str) -> None:
    return


def _say(text: str) -> None:
    click.echo(f"lab: {text}", err=True)


if __name__ == "__main__":
    sys.exit(main())
