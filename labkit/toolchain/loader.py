"""The boot loader that measures what it boots: GRUB from 2.12 on, unpacked in the cache with its tools.

Older ones cannot start an EFI-stub Asterinas with ``linux``, and Debian 12 has 2.06: there the packages of
Debian 13 are unpacked, with the C library that their programs want. Nothing of it is installed (decision 28).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import MissingComponent
from labkit.settings import Settings
from labkit.toolchain.apt import Apt, Progress
from labkit.toolchain.toolchain import LOADER_MODULES, REMEDY, Program, find_loader_tree

LEAST = (2, 12)

_PACKAGES = ("grub-efi-amd64-bin", "mtools")
"""GRUB's modules, and what makes a FAT file system."""

# What makes an image of the modules is in a package that has changed its name; libraries do as well.
_NEEDED = re.compile(r"grub\d*-common|lib.+|zlib1g")
_SUITE = "trixie"
_LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")
_LINKER = "ld-linux-x86-64.so.2"


@dataclass(frozen=True)
class Loader:
    """GRUB's modules and the programs that make a boot disc of them. tree: where all of it is."""

    tree: Path

    @property
    def modules(self) -> Path:
        """The folder of GRUB's modules."""
        return self.tree / LOADER_MODULES

    def program(self, name: str) -> Program:
        """A program of the tree, started with the tree's own C library."""
        folders = [self.tree / folder for folder in _LIBRARIES]
        linker = next(path for folder in folders if (path := folder / _LINKER).is_file())
        libraries = ":".join(str(folder) for folder in folders)
        words = ("--inhibit-cache", "--library-path", libraries, str(self.tree / "usr/bin" / name))
        # mtools would read a configuration of the user's; the date goes into directory entries.
        return Program(linker, words, {"MTOOLSRC": "/dev/null", "SOURCE_DATE_EPOCH": "0"})


def find_loader(settings: Settings) -> Loader:
    """The unpacked loader.

    Raises:
        MissingComponent: there is none.
    """
    tree = find_loader_tree(settings)
    if tree is None:
        raise MissingComponent("The boot loader that measures what it boots (GRUB 2.12) is missing.", REMEDY)
    return Loader(tree)


def fetch_loader(apt: Apt, on_progress: Progress) -> list[Path]:
    """Download the packages, of this system's release or of Debian 13; the files. ``apt`` has its lists.

    Raises:
        MissingComponent: neither has them.
        StorageError: the disk is full.
    """
    if _new_enough(apt.candidate(_PACKAGES[0])):
        return apt.fetch_alone(apt.closure(_PACKAGES, _NEEDED))
    mirror = apt.mirror("Debian")
    if mirror is None:
        raise MissingComponent(
            "The package sources of this system have no GRUB from 2.12 on.",
            "Debian from 12 on and Ubuntu from 24.04 on have or lead to one.",
        )
    on_progress(f"this system's GRUB is older than 2.12: Debian {_SUITE}'s is fetched, and not installed")
    state = apt.state / "newer"
    state.mkdir(parents=True, exist_ok=True)
    sources = state / "sources.list"
    sources.write_text(f"deb {mirror} {_SUITE} main\n")
    newer = Apt(state, on_progress, sources)
    newer.update()
    return newer.fetch_alone(newer.closure(_PACKAGES, _NEEDED))


def _new_enough(version: str | None) -> bool:
    found = re.match(r"(?:\d+:)?(\d+)\.(\d+)", version or "")
    return found is not None and (int(found[1]), int(found[2])) >= LEAST
