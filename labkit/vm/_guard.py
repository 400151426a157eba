"""A guard process: when its owner is gone, by whatever end, so are the machine and its working files."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

# Reads until the owner's end of the pipe is closed, which the kernel does for an owner killed with
# SIGKILL too. The first leads the process group that QEMU and swtpm join, and ends with that group; the
# second does the same from outside, where the first was killed.
_SCRIPT = """trap '' INT TERM HUP QUIT
read -r _
rm -rf -- "$1"
kill -s KILL -- "-${2:-$$}"
rm -rf -- "$1"
"""
_PATIENCE = 10.0


class Guard:
    """Owns a working directory and a process group on behalf of this process."""

    def __init__(self, work: Path) -> None:
        """Create ``work`` and start guarding it."""
        work.mkdir(mode=0o700)
        self.work = work
        reader, self._writer = os.pipe()
        try:
            self._process = self._start(reader)
            self._second = self._start(reader, str(self._process.pid))
        finally:
            os.close(reader)

    def _start(self, reader: int, *group: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["sh", "-c", _SCRIPT, "labkit-guard", str(self.work), *group],
            stdin=reader,
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

        Where both guards were killed, their owner does their work.
        """
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
            for guard in (self._process, self._second):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    guard.wait(_PATIENCE)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.group, signal.SIGKILL)
            shutil.rmtree(self.work, ignore_errors=True)
