"""The shells that guests have: each busybox and bash that is at hand, to be run on a terminal here."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from pathlib import Path

from labkit.settings import Settings

WANTED = ("busybox 1.35", "busybox 1.37", "bash")


@cache
def found() -> dict[str, tuple[str, ...]]:
    """How to start every shell, by its name.

    They are looked for in labkit's cache, where ``./lab test`` puts those that this system lacks, on this
    system, and in the folders that ``LABKIT_TEST_SHELLS`` names.
    """
    cache_dir = Settings.load().cache_dir
    folders = [Path(name) for name in os.environ.get("LABKIT_TEST_SHELLS", "").split(":") if name]
    folders += [Path(folder) for folder in (*os.get_exec_path(), "/bin")]
    for top in ("packages/*", "test-packages/*"):
        folders += [path for name in ("usr/bin", "bin") for path in sorted(cache_dir.glob(f"{top}/{name}"))]
    shells: dict[str, tuple[str, ...]] = {}
    for folder in folders:
        for name in ("busybox", "bash", "bash-static"):
            if (path := folder / name).is_file() and (shell := _shell(path)):
                shells.setdefault(*shell)
    return shells


def _shell(path: Path) -> tuple[str, tuple[str, ...]] | None:
    option = "--help" if path.name == "busybox" else "--version"
    try:
        said = subprocess.run([path, option], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    if "GNU bash" in said:
        return "bash", (str(path), "--norc", "--noprofile", "-i")
    match = re.search(r"BusyBox v(\d+\.\d+)", said)
    return (f"busybox {match[1]}", (str(path), "sh", "-i")) if match else None
