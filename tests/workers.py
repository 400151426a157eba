"""The worker processes that a command started through Dask, as the system shows them."""

from __future__ import annotations

from pathlib import Path


def everything() -> dict[int, tuple[int, str]]:
    """The parent and the command line of every process."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            line = (stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found[int(stat.parent.name)] = (parent, line)
    return found


def workers_of(pid: int) -> list[int]:
    """The workers of a process: forks of a fork server of its own, or processes that it spawned."""
    processes = everything()
    servers = {
        number
        for number, (parent, line) in processes.items()
        if parent == pid and "multiprocessing.forkserver" in line
    }
    return [
        number
        for number, (parent, line) in processes.items()
        if parent in servers or (parent == pid and "spawn_main" in line)
    ]
