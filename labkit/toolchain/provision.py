"""Install what the emulated platform needs: as packages of the system, or unpacked in the cache.

The guest's kernel, busybox and bash are only ever unpacked: a kernel installed on the system would become its
next boot, and busybox-static would replace the system's busybox.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from labkit.errors import MissingComponent, StorageError
from labkit.process import run
from labkit.settings import Settings
from labkit.toolchain.apt import Apt, Progress, unpack
from labkit.toolchain.loader import fetch_loader
from labkit.toolchain.toolchain import (
    LOADER,
    Inventory,
    Toolchain,
    assembled_image,
    find,
    find_firmware,
    flash_pairs,
    inventory,
    packages_dir,
    search_roots,
)

# In the order of trial: Debian's kernel for virtual machines, then Ubuntu's.
_KERNEL_METAS = ("linux-image-cloud-amd64", "linux-image-virtual")

# Measured on Debian 12 and 13: downloads plus unpacked trees stay below this many bytes.
_ROOM_PROGRAMS = 500_000_000
_ROOM_GUEST = 300_000_000
_ROOM_LOADER = 60_000_000


def install(settings: Settings, on_progress: Progress, *, system: bool | None = None) -> Inventory:
    """Install what is missing and say each step; safe to run twice at once, and again after an interruption.

    With ``system`` programs and firmware are installed as packages of the system (the default for root),
    otherwise they are unpacked in the cache. What is for the guest is always unpacked, and so is the boot
    loader that measures; where only the loader cannot be installed, that is said.

    Raises:
        MissingComponent: no network, no apt-get, or a package that is not offered or does not run.
        StorageError: the cache cannot be written, or lacks the space.
    """
    found = inventory(settings)
    if found.complete and not found.lacks_loader:
        return found
    as_packages = os.geteuid() == 0 if system is None else system
    folder = packages_dir(settings)
    with _sole(folder, on_progress):
        found = inventory(settings)
        missing = {part.name for part in found.missing}
        wanted = tuple(package for part in found.missing for package in part.packages)
        guest = bool(missing & {"kernel", "busybox"})
        shell = "bash" in missing
        programs = 0 if as_packages or not wanted else _ROOM_PROGRAMS
        _need_room(folder, programs + guest * _ROOM_GUEST + found.lacks_loader * _ROOM_LOADER)
        for leftover in folder.glob(".partial-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        state = folder / ".partial-apt"
        apt = Apt(state, on_progress)
        try:
            if wanted or guest or shell:
                apt.update()
            if wanted and as_packages:
                apt.install(wanted)
            elif wanted:
                _bring("programs", apt.fetch(wanted), folder, on_progress)
            if guest:
                names = (*apt.kernel_packages(_KERNEL_METAS), "busybox-static", "bash-static")
                _bring("guest", apt.fetch_alone(names), folder, on_progress)
            elif shell:
                _bring("shell", apt.fetch_alone(("bash-static",)), folder, on_progress)
            if found.lacks_loader:
                _bring_loader(apt, folder, on_progress, updated=bool(wanted or guest or shell))
        finally:
            shutil.rmtree(state, ignore_errors=True)
        _assemble(settings)
        found = inventory(settings)
        if not found.complete:
            lacking = ", ".join(part.name for part in found.missing)
            raise MissingComponent(
                f"The packages of this system do not contain what labkit needs: {lacking}.",
                "Debian 12 or 13, or Ubuntu 24.04, has it.",
            )
        if wanted:
            _try_out(find(settings))
    return found


def _bring_loader(apt: Apt, folder: Path, on_progress: Progress, *, updated: bool) -> None:
    """Unpack the boot loader that measures; most boots do without it."""
    try:
        if not updated:
            apt.update()
        _bring(LOADER, fetch_loader(apt, on_progress), folder, on_progress)
    except MissingComponent as error:
        on_progress(f"boots with --loader will not be possible: {error}")


def _assemble(settings: Settings) -> None:
    """Where a distribution ships only the two halves, put them together in the cache."""
    roots = search_roots(settings)
    if find_firmware(roots, settings):
        return
    for code, variables in flash_pairs(roots):
        whole = variables.read_bytes() + code.read_bytes()
        target = assembled_image(settings, whole)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        partial.write_bytes(whole)
        partial.rename(target)
        return


def _bring(label: str, archives: Sequence[Path], folder: Path, on_progress: Progress) -> None:
    """Unpack into a tree named after exactly these packages."""
    on_progress(f"unpacking {len(archives)} packages")
    key = hashlib.sha256("\n".join(archive.name for archive in archives).encode()).hexdigest()[:12]
    tree = folder / f"{label}-{key}"
    shutil.rmtree(tree, ignore_errors=True)
    unpack(archives, tree)


def _try_out(tools: Toolchain) -> None:
    """A program that is there but does not start would fail later and less clearly."""
    for program in (tools.qemu, tools.swtpm, tools.swtpm_setup):
        done = run(program.argv("--version"), env=program.environ())
        # swtpm_setup prints its version and exits with 1; a program that does not start prints nothing.
        if b"version" not in done.stdout:
            why = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
            raise MissingComponent(
                f"{program.path.name} was fetched but does not start: {why[0] if why else done.status}.",
                "Upgrade this system's packages, or run `labkit setup` as root.",
            )


def _need_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise StorageError(
            f"{folder} has {free / 1e6:.0f} MB free, but {size / 1e6:.0f} MB are needed.",
            "Free some space, or set LABKIT_CACHE_DIR to a folder on a larger disk.",
        )


@contextlib.contextmanager
def _sole(folder: Path, on_progress: Progress) -> Iterator[None]:
    """Let one process at a time change the folder; the lock ends with the process, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise StorageError(
            f"The cache {folder} cannot be written: {error.strerror}.",
            "Set LABKIT_CACHE_DIR to a folder that you may write to.",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_progress("another `labkit setup` is at work: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
