"""``python -m tests.bring``: what other systems have and the tests run on as well, into labkit's cache.

Debian 13's busybox behaves in its own way where a cell redefines builtins, and its firmware measures ACPI
tables, which that of Debian 12 does not.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from labkit.errors import LabkitError
from labkit.settings import Settings
from labkit.toolchain.apt import Apt, unpack
from tests.console import shells

SUITE, PACKAGES, SHELL = "trixie", ("busybox-static", "ovmf"), "busybox 1.37"
FIRMWARE = "usr/share/ovmf/OVMF.fd"
MIRROR = "http://deb.debian.org/debian"
"""Where Debian is, for a system that is not itself one."""


def folder(settings: Settings) -> Path:
    """Where the packages are unpacked."""
    return settings.cache_dir / "test-packages" / SUITE


def main() -> int:
    """Fetch what is missing; 1 where that did not work, and the tests that need it skip."""
    tree = folder(Settings.load())
    if SHELL in shells.found() and (tree / FIRMWARE).exists():
        return 0
    _say(f"fetching {SHELL} and OVMF of Debian 13, for the tests")
    try:
        with tempfile.TemporaryDirectory() as work:
            state = Path(work)
            mirror = Apt(state, _quiet).mirror("Debian") or MIRROR
            sources = state / "sources.list"
            sources.write_text(f"deb {mirror} {SUITE} main\n")
            # apt checks the package by the hash in the suite's signed index.
            apt = Apt(state, _quiet, sources)
            apt.update()
            tree.parent.mkdir(parents=True, exist_ok=True)
            unpack(apt.fetch_alone(PACKAGES), tree)
    except LabkitError as error:
        _say(f"they could not be fetched, and the tests that need them skip: {error.message}")
        return 1
    return 0


def _quiet(_text: str) -> None:
    return


def _say(text: str) -> None:
    click.echo(f"lab: {text}", err=True)


if __name__ == "__main__":
    sys.exit(main())
