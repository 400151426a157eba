"""The memory of a guest: what it gets, the least that it takes, and what fits beside the guests that run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import UsageError
from labkit.vm.rundir import RunningVm


@dataclass(frozen=True)
class MemoryNeed:
    """What a kind of image takes. least, default: MiB. why: a clause that says what needs the least."""

    least: int
    default: int
    why: str

    def given(self, wanted: int | None) -> int:
        """The memory for a guest of this kind, in MiB; the default where nothing is asked for.

        Raises:
            UsageError: it is too little.
        """
        if wanted is None:
            return self.default
        if wanted < self.least:
            raise UsageError(
                f"{wanted} MiB of memory is too little: this image needs at least {self.least} MiB, "
                f"because {self.why}.",
                f"Ask for {self.default}, or leave it out.",
            )
        return wanted


# With less, the firmware fails in ways that say nothing about memory (measured below 192).
LINUX_MEMORY = MemoryNeed(256, 512, "the firmware and the kernel need it")
FOREIGN_MEMORY = MemoryNeed(256, 1024, "firmware, loader and kernel need it")
"""An image of which nothing is known but that it boots."""
_END_SOME = "End TDVMs that `labkit ps` shows with `labkit stop`, or shut down a notebook's kernel."


def free_memory(machines: Sequence[RunningVm], meminfo: str | None = None) -> int:
    """MiB that this machine can still give, less what the running guests may still take (proc(5)).

    A container has what its control group leaves, however much the machine has.
    """
    text = meminfo if meminfo is not None else Path("/proc/meminfo").read_text()
    found = re.search(r"^MemAvailable: +(\d+) kB", text, re.MULTILINE)
    available = int(found[1]) // 1024 if found else 1 << 20
    if meminfo is None:
        available = min([available, *group_room()])
    promised = sum(max(0, machine.memory - _resident(machine.qemu_pid)) for machine in machines)
    return max(0, available - promised)


def group_room(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """MiB that each control group above this process leaves, where it has a limit (cgroups(7)).

    What the kernel keeps of files and can drop is not counted as used.
    """
    rooms = []
    for line in _read(own).splitlines():
        _, controllers, name = line.split(":", 2)
        if not controllers:  # version 2
            top, limit, used, cache = root, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top = root / "memory"
            limit, used, cache = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        # Inside a container its own group is the mounted one, whatever the name says.
        group = top / name.strip("/")
        for folder in (group, *(above for above in group.parents if above == top or top in above.parents)):
            most, now = _read(folder / limit).strip(), _read(folder / used).strip()
            if most.isdecimal() and now.isdecimal():
                kept = re.search(rf"^{cache} (\d+)$", _read(folder / "memory.stat"), re.MULTILINE)
                rooms.append(max(0, int(most) - int(now) + (int(kept[1]) if kept else 0)) >> 20)
    return rooms


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def check_memory(
    wanted: int,
    machines: Sequence[RunningVm],
    meminfo: str | None = None,
    *,
    count: int = 1,
    budget: int | None = None,
) -> None:
    """See whether ``count`` more guests of ``wanted`` MiB fit beside the running ones.

    Guests that share memory are counted as if each had written to all of its own, as it may.
    budget: MiB that all guests together may have, whatever the machine has.

    Raises:
        UsageError: it does not.
    """
    if budget is not None:
        _check_budget(wanted * count, machines, budget)
    room = free_memory(machines, meminfo)
    if wanted * count <= room:
        return
    if count > 1:
        fit = room // wanted
        raise UsageError(
            f"{count} TDVMs of {wanted} MiB do not fit: {room} MiB are left, for {fit or 'none'} of them.",
            f"Ask for {fit}, or for less memory each with --memory."
            if fit
            else "End TDVMs that `labkit ps` shows with `labkit stop`, or ask for less memory.",
        )
    if machines:
        raise UsageError(
            f"Another TDVM of {wanted} MiB does not fit: {len(machines)} are running, and {room} MiB are "
            "left.",
            _END_SOME,
        )
    raise UsageError(
        f"{wanted} MiB of memory is more than this machine has free ({room} MiB).",
        f"Ask for less; {LINUX_MEMORY.default} is enough for labkit's own guest.",
    )


def _check_budget(wanted: int, machines: Sequence[RunningVm], budget: int) -> None:
    taken = sum(machine.memory for machine in machines)
    if wanted + taken <= budget:
        return
    what = f"{wanted} MiB of memory does not fit your share of this server, which is {budget} MiB"
    if machines:
        raise UsageError(f"{what}: your TDVMs have {taken} MiB of it.", _END_SOME)
    raise UsageError(f"{what}.", "Ask for less memory, or your teacher for a larger share.")


def _resident(pid: int) -> int:
    """MiB that a process has in memory for itself, not in the files that it maps (proc(5))."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    sizes = re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", status, re.MULTILINE)
    return sum(int(size) for size in sizes) // 1024


def taken_by(pid: int) -> int:
    """Bytes of memory that a process takes, with its part of what it shares (proc(5), Pss); 0 if it ended."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) << 10 if found else 0
