"""A guard process: when its owner is gone, by whatever end, so are the machine and its working files."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

# Reads until the owner's end of the pipe is closed, which the kernel does for an owner killed with
# SIGKILL too. It leads the process group that QEMU and swtpm join, and ends with that group.
_SCRIPT = """trap '' INT TERM HUP QUIT
read -r _
rm -rf -- "$1"
kill -KILL 0
"""


_PATIENCE = 10.0


class Guard:
    """Owns a working directory and a process group on behalf of this process."""

    def __init__(self, work: Path) -> None:
        """Create ``work`` and start guarding it."""
        work.mkdir(mode=0o700)
        self.work = work
        self._process = subprocess.Popen(
            ["sh", "-c", _SCRIPT, "labkit-guard", str(work)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            process_group=0,
        )

    @property
    def group(self) -> int:
        """The process group that guarded programs must join."""
        return self._process.pid

    def release(self) -> None:
        """End the group and remove the working directory now; may be called twice.

        A guard that was killed has done neither: its owner does both then.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._process.poll() is None or self.work.exists():
            # Not waited for yet, so that nobody else can have this number; the group ends with its last member.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.group, signal.SIGKILL)
            shutil.rmtree(self.work, ignore_errors=True)
        self._process.wait()
