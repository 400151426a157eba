"""What a worker can do: asked of it before it gets a row.

The function is sent as code, since a worker that lacks labkit is to be named and not to fail; so this module
stands on the standard library alone.
"""

from __future__ import annotations

import os
import platform
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

PACKAGES = ("papermill", "nbclient", "nbformat", "ipykernel", "cryptography", "distributed")
"""What a row needs besides labkit."""


def probe(token: str, secret: str) -> dict[str, Any]:
    """This machine and this Python, as plain data; nothing is started.

    token: a file that holds ``secret`` where the worker shares the sweep's folder.
    """
    missing, versions = [], {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    labkit, broken = None, ""
    try:
        labkit = str(import_module("labkit").__version__)
        import_module("labkit.studies.row")
    except Exception as error:
        broken = f"{type(error).__name__}: {error}"
    try:
        shared = Path(token).read_text() == secret
    except OSError:
        shared = False
    available = 1 << 20
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) >> 10
    return {
        "node": platform.node(),
        "machine": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "pid": os.getpid(),
        "labkit": labkit,
        "broken": broken,
        "missing": missing,
        "versions": versions,
        "shared": shared,
        "memory": available,
        "kernels": _kernels(),
    }


def _kernels() -> list[str]:
    try:
        return sorted(import_module("jupyter_client.kernelspec").KernelSpecManager().find_kernel_specs())
    except Exception:
        return []


def describe() -> dict[str, str]:
    """The platform and the accelerator that this machine's TDVMs would have; empty where none can boot."""
    from labkit.errors import LabkitError
    from labkit.platforms import choose_platform
    from labkit.settings import Settings

    settings = Settings.load()
    try:
        chosen = choose_platform("auto", settings)
        chosen.toolchain()
    except (LabkitError, OSError) as error:
        return {"platform": "", "trust": "", "why": str(error)}
    return {"platform": chosen.name, "trust": chosen.trust.value, "why": chosen.why}
