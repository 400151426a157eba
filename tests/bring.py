"""``python -m tests.bring``: what other systems have and the tests run on as well, into labkit's cache.

The busybox of Debian 13 behaves in its own way where a cell redefines builtins, and its firmware measures
ACPI tables, which that of Debian 12 does not: each is fetched where the system is another one. As root also
the proxy of a JupyterHub, with the Node.js that it needs: as the classroom server has it, pinned in
``deploy/jupyterhub``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from labkit import process
from labkit.errors import LabkitError
from labkit.settings import Settings
from labkit.toolchain.apt import Apt, unpack
from tests.console import shells

PACKAGES = ("busybox-static", "ovmf")
FIRMWARE = "usr/share/ovmf/OVMF.fd"
MIRROR = "http://deb.debian.org/debian"
"""Where Debian is, for a system that is not itself one."""
INSTALL_PROXY = Path(__file__).parents[1] / "deploy" / "jupyterhub" / "install-proxy"


@dataclass(frozen=True)
class Release:
    """A release of Debian, and the shell that its package has."""

    number: str
    suite: str
    shell: str

    @property
    def is_here(self) -> bool:
        """Whether this system is one."""
        version = Path("/etc/debian_version")
        return version.exists() and version.read_text(encoding="ascii").startswith(f"{self.number}.")


BOOKWORM = Release("12", "bookworm", "busybox 1.35")
TRIXIE = Release("13", "trixie", "busybox 1.37")


def proxy(settings: Settings) -> Path:
    """The program of the hub's proxy, once it was fetched."""
    return settings.cache_dir / "test-packages" / "hub-proxy" / "configurable-http-proxy"


def folder(settings: Settings, release: Release) -> Path:
    """Where its files are: those of this system, or what was unpacked."""
    fetched = _fetched(settings, release)
    return Path("/") if release.is_here and not fetched.exists() else fetched


def _fetched(settings: Settings, release: Release) -> Path:
    return settings.cache_dir / "test-packages" / release.suite


def main() -> int:
    """Fetch what is missing; 1 where that did not work, and the tests that need it skip."""
    settings = Settings.load()
    brought = [_bring_packages(settings, release) for release in (BOOKWORM, TRIXIE)]
    if os.geteuid() == 0:  # the hub of the tests is root's
        brought.append(_bring_proxy(proxy(settings).parent))
    return 0 if all(brought) else 1


def _bring_packages(settings: Settings, release: Release) -> bool:
    if release.shell in shells.found() and (folder(settings, release) / FIRMWARE).exists():
        return True
    _say(f"fetching {release.shell} and OVMF of Debian {release.number}, for the tests")
    try:
        with tempfile.TemporaryDirectory() as work:
            state = Path(work)
            mirror = Apt(state, _quiet).mirror("Debian") or MIRROR
            sources = state / "sources.list"
            sources.write_text(f"deb {mirror} {release.suite} main\n")
            # apt checks the package by the hash in the suite's signed index.
            apt = Apt(state, _quiet, sources)
            apt.update()
            tree = _fetched(settings, release)
            tree.parent.mkdir(parents=True, exist_ok=True)
            unpack(apt.fetch_alone(PACKAGES), tree)
    except LabkitError as error:
        _say(f"they could not be fetched, and the tests that need them skip: {error.message}")
        return False
    return True


def _bring_proxy(place: Path) -> bool:
    """Installed by the server's own recipe, which leaves alone what it has installed before."""
    if not proxy(Settings.load()).exists():
        _say("fetching the proxy of JupyterHub and Node.js for it, for the tests")
    try:
        done = process.run([INSTALL_PROXY, place, sys.executable], timeout=300)
    except LabkitError as error:
        _say(f"it could not be fetched, and the hub's tests skip: {error.message}")
        return False
    if not done.ok:
        lines = done.stderr.decode("utf-8", "replace").splitlines()
        why = next((line for line in lines if "error" in line.lower()), "it took too long")
        _say(f"it could not be fetched, and the hub's tests skip: {why[:300]}")
    return done.ok


def _quiet(_text: str) -> None:
    return


def _say(text: str) -> None:
    click.echo(f"lab: {text}", err=True)


if __name__ == "__main__":
    sys.exit(main())
