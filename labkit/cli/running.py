"""What this user's labkit runs besides TDVMs: kernels and sweeps, by their processes, and containers.

A process is this labkit's where it uses the same state directory.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labkit import process
from labkit.errors import LabkitError
from labkit.settings import Settings


@dataclass(frozen=True)
class RunningJob:
    """A kernel, a sweep or a container. started: seconds since 1970. what: in a few words."""

    id: str
    kind: str
    pid: int
    started: float
    what: str

    def to_dict(self) -> dict[str, Any]:
        """The job as plain data."""
        return asdict(self)

    def stop(self) -> None:
        """End it as Ctrl-C or its front end would, so that it cleans up; a container at once."""
        if self.kind == "container":
            from labkit.container.owner import stop as stop_container

            stop_container(self.id)
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGINT if self.kind == "sweep" else signal.SIGTERM)


def running_jobs(settings: Settings) -> list[RunningJob]:
    """The kernels, sweeps and containers that run now, oldest first."""
    jobs = [*_processes(settings), *_containers(settings)]
    return sorted(jobs, key=lambda job: job.started)


def _processes(settings: Settings) -> Iterator[RunningJob]:
    own = set(_ancestors(os.getpid()))
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            found = kind_of(words)
            if found and pid not in own and _is_ours(pid, settings):
                yield RunningJob(f"{found[0]}-{pid}", found[0], pid, folder.stat().st_mtime, found[1])
        except OSError:
            continue  # it has ended, or is somebody else's


def kind_of(words: list[str]) -> tuple[str, str] | None:
    """Kernel or sweep, with what it is about, from a command line; None for any other process."""
    if words[1:3] == ["-m", "labkit.kernel"]:
        return "kernel", "a notebook's kernel"
    programs = [number for number, word in enumerate(words[:3]) if Path(word).name == "labkit"]
    if programs and words[programs[0] + 1 : programs[0] + 2] == ["sweep"]:
        return "sweep", " ".join(words[programs[0] + 2 :])
    return None


def _is_ours(pid: int, settings: Settings) -> bool:
    text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    environ = dict(line.split("=", 1) for line in text.split("\0") if "=" in line)
    try:
        return Settings.load(environ).state_dir == settings.state_dir
    except LabkitError:
        return False


def _ancestors(pid: int) -> Iterator[int]:
    while pid > 0:
        yield pid
        fields = process.status_fields(pid)
        if not fields:
            return
        pid = int(fields[1])


def _containers(settings: Settings) -> Iterator[RunningJob]:
    from labkit.container.owner import owned as owned_containers

    for name, owner, started in owned_containers():
        with contextlib.suppress(OSError):
            if _is_ours(owner, settings):
                yield RunningJob(name, "container", owner, started, "the Asterinas flow")
