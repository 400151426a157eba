"""Run directories: what a TDVM leaves behind for reading, and how one sees which TDVMs are running."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import select
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labkit.errors import StorageError, UsageError
from labkit.files import write_whole
from labkit.settings import Settings

_PATIENCE = 3.0
_KEPT = 40
"""How many ended runs are kept."""


@dataclass(frozen=True)
class RunningVm:
    """One TDVM that a labkit process of this user runs."""

    id: str
    owner_pid: int
    qemu_pid: int
    started: float
    accelerator: str
    memory: int
    run_dir: str

    @property
    def idle(self) -> float:
        """Seconds since its shell last said anything."""
        try:
            return max(0.0, time.time() - (Path(self.run_dir) / "shell.log").stat().st_mtime)
        except OSError:
            return 0.0

    def to_dict(self) -> dict[str, Any]:
        """The machine as plain data; ``started`` in seconds since 1970."""
        return {**asdict(self), "idle_seconds": round(self.idle, 1)}


class RunDir:
    """The directory of one run; its lock is held as long as the owner lives."""

    def __init__(self, path: Path) -> None:
        """Create the directory and take its lock."""
        for folder in (path.parent.parent, path.parent):
            # Whoever may write there can put another run in the place of this one.
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.mkdir(mode=0o700)
        self.path = path
        (path / "lock").touch(mode=0o600)
        self._lock = (path / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    @classmethod
    def create(cls, settings: Settings) -> RunDir:
        """Make a new run directory under the state directory.

        Raises:
            StorageError: the state directory cannot be written.
        """
        parent = _parent(settings)
        name = time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + secrets.token_hex(3)
        try:
            return cls(parent / name)
        except OSError as error:
            raise StorageError(
                f"The state directory {settings.state_dir} cannot be written: {error.strerror}.",
                "Set LABKIT_STATE_DIR to a directory that can.",
            ) from error

    def write_json(self, name: str, content: Any) -> None:
        """Write one JSON file; it appears whole or not at all."""
        write_whole(self.path / name, f"{json.dumps(content, indent=2)}\n".encode(), 0o600)

    def close(self) -> None:
        """Give up the lock: the run has ended."""
        (self.path / "vm.json").unlink(missing_ok=True)
        (self.path / "lock").unlink(missing_ok=True)
        self._lock.close()


def running(settings: Settings) -> list[RunningVm]:
    """The TDVMs that run now, oldest first."""
    return [vm for path in _runs(_parent(settings)) if _is_locked(path) and (vm := _read(path))]


def stop(settings: Settings, run_id: str | None = None) -> list[RunningVm]:
    """End the TDVM ``run_id``, or all of them; their owners see a guest that went away.

    Raises:
        UsageError: no TDVM of that id is running.
    """
    machines = [vm for vm in running(settings) if run_id in (None, vm.id)]
    if run_id is not None and not machines:
        raise UsageError(f"No TDVM {run_id} is running.", "`labkit ps` lists those that are.")
    for vm in machines:
        with contextlib.suppress(OSError):
            # Held open, so that the number cannot become another process's meanwhile.
            process = os.pidfd_open(vm.qemu_pid)
            try:
                if _is_qemu_of(vm):
                    signal.pidfd_send_signal(process, signal.SIGTERM)
                    # It does not listen while its guest waits for somebody to read its output.
                    if not select.select([process], [], [], _PATIENCE)[0]:
                        signal.pidfd_send_signal(process, signal.SIGKILL)
            finally:
                os.close(process)
    return machines


def forget_old(settings: Settings) -> None:
    """Remove the oldest runs that have ended, and what killed ones left behind."""
    ended = [path for path in _runs(_parent(settings)) if not _is_locked(path)]
    for path in ended:
        _end_left_behind(path)
    for path in ended[: max(0, len(ended) - _KEPT)]:
        shutil.rmtree(path, ignore_errors=True)


def _parent(settings: Settings) -> Path:
    return settings.state_dir / "tdvms"


def _runs(parent: Path) -> Iterator[Path]:
    if parent.is_dir():
        yield from sorted(path for path in parent.iterdir() if path.is_dir())


def _is_locked(run: Path) -> bool:
    try:
        with (run / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _read(run: Path) -> RunningVm | None:
    try:
        return RunningVm(**json.loads((run / "vm.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None  # just being written, or of another version


def _is_qemu_of(vm: RunningVm) -> bool:
    with contextlib.suppress(OSError):
        return vm.id.encode() in Path(f"/proc/{vm.qemu_pid}/cmdline").read_bytes()
    return False


def _end_left_behind(run: Path) -> None:
    """A run whose owner and guard were both killed: its machine and its working files."""
    if (vm := _read(run)) is not None:
        if _is_qemu_of(vm):
            with contextlib.suppress(ProcessLookupError):
                os.kill(vm.qemu_pid, signal.SIGKILL)
        (run / "vm.json").unlink(missing_ok=True)
    shutil.rmtree(run / "work", ignore_errors=True)
