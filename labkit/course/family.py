"""The processes of a sandbox together, as the process that started it sees them below ``/proc`` (proc(5))."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from pathlib import Path

from labkit.process import status_fields

_AWAKE = frozenset("RD")
"""States of a thread that runs, waits for a processor, or waits for a disk."""
_TICKS = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process, and all that it and its children started."""
    found = [pid]
    for member in found:  # it grows while it is walked
        found += _children(member)
    return found


def larger(members: Sequence[int], most: int) -> bool:
    """They take more than ``most`` bytes; what they share counts once."""
    if sum(map(_resident, members)) <= most:
        return False
    from labkit.vm.memory import taken_by  # a package that takes a while, for what is rare

    return sum(map(taken_by, members)) > most


def worked(members: Sequence[int]) -> float:
    """Seconds of processor time that they took, with that of the children whose end they were told."""
    return sum(_ticks(member) for member in members) / _TICKS


def asleep(members: Sequence[int]) -> bool:
    """Each thread waits for something that is neither a processor nor a disk.

    So a busy machine puts nobody to sleep. Where no children can be seen, nobody is known to sleep.
    """
    return len(members) > 1 and _AWAKE.isdisjoint(state for member in members for state in _states(member))


def _children(pid: int) -> list[int]:
    return [int(word) for thread in _threads(pid) for word in _read(thread / "children").split()]


def _resident(pid: int) -> int:
    """Bytes in memory, also those that are shared."""
    pages = _read(Path(f"/proc/{pid}/statm")).split()[1:2]
    return sum(map(int, pages)) * resource.getpagesize()


def _ticks(pid: int) -> int:
    return sum(map(int, (status_fields(pid) or [])[11:15]))


def _states(pid: int) -> list[str]:
    # A thread stands below /proc by its own number as well, though no list has it there.
    return [state for thread in _threads(pid) for state in (status_fields(int(thread.name)) or [])[:1]]


def _threads(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _read(path: Path) -> str:
    """A file of ``/proc``; nothing where its process has ended."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
