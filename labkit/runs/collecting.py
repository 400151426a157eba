"""What a run is recorded with besides its chapters: the machine, the versions, the commit."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from labkit import __version__, process
from labkit.errors import LabkitError, MissingComponent
from labkit.settings import Settings
from labkit.toolchain import find_toolchain

_PACKAGES = ("papermill", "nbclient", "nbconvert", "ipykernel", "jupyterlab", "cryptography", "dcap-qvl")


def collect_versions() -> dict[str, str]:
    """Versions of labkit, Python, and the packages that run and render notebooks."""
    versions = {"labkit": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def collect_tools(settings: Settings) -> dict[str, str]:
    """Versions of what the emulated platform is made of; empty where it is not set up."""
    try:
        tools = find_toolchain(settings)
    except LabkitError:
        return {}
    versions = {}
    for name, program in (("qemu", tools.qemu), ("swtpm", tools.swtpm)):
        number = re.search(r"version (\d[^,\n]*)", program.version_text)
        if number:
            versions[name] = number[1]
    return {**versions, "guest kernel": tools.kernel.name}


def collect_host() -> dict[str, Any]:
    """The machine without its name: operating system, kernel, processor, memory."""
    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        system = "Linux"
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "os": system,
        "kernel": platform.release(),
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mib": pages >> 20,
    }


def collect_git(folder: Path) -> dict[str, Any] | None:
    """The commit that ``folder`` is at and whether files differ from it; None outside a checkout."""
    commit = _first_line(["git", "-C", folder, "rev-parse", "HEAD"])
    if commit is None:
        return None
    changed = _first_line(["git", "-C", folder, "status", "--porcelain", "--untracked-files=no"])
    return {"commit": commit, "changed": bool(changed)}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(argv: Sequence[str | Path]) -> str | None:
    try:
        done = process.run(argv, timeout=20)
    except MissingComponent:
        return None
    return done.text.partition("\n")[0] if done.ok else None
