"""The one way labkit runs a short-lived program and waits for it; and what outlives it to tidy up."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import MissingComponent

# Removes a folder once its owner's end of the pipe is closed. What the owner had started may write there for
# a moment longer.
_REMOVE = """read -r _
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -e "$1" ] || exit 0; rm -rf -- "$1"; sleep 1; done
"""

# Kills a group once its owner's end of the pipe is closed.
_KILL = 'read -r _; kill -s KILL -- "-$1"'

_LOOK = 0.1
"""Seconds between two looks at whether a program was cancelled, and at what it has written."""


@dataclass(frozen=True)
class Completed:
    """What a program did: exit status (negative: the signal that ended it), output, whether it timed out."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """The program ended by itself with status 0."""
        return self.status == 0 and not self.timed_out

    @property
    def text(self) -> str:
        """Standard output as text; undecodable bytes become U+FFFD."""
        return self.stdout.decode("utf-8", "replace")


class Companion:
    """A program that waits for the end of its standard input, which comes however this process ends.

    It leads a session of its own, so that no Ctrl-C reaches it.
    """

    def __init__(self, argv: Sequence[str | Path]) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def release(self, timeout: float = 60.0) -> bool:
        """Let it do its work now; whether it ended well. May be called twice."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            return self._process.wait(timeout) == 0
        except subprocess.TimeoutExpired:
            self.dismiss()
            return False

    def dismiss(self) -> None:
        """End it before it does its work."""
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def scratch_folder(prefix: str, where: Path | None = None) -> Iterator[Path]:
    """A temporary folder that is gone with this process, killed or not.

    where: the folder that it is made in, the system's own for temporary files by default.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=where)).absolute()
    companion = Companion(["sh", "-c", _REMOVE, "labkit-scratch", folder])
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        companion.release()


@contextlib.contextmanager
def unseen_script() -> Iterator[None]:
    """Keep new Python processes from running the user's script, which would start such processes as well.

    multiprocessing does that for names that a script may define, and asks for a line in it that few know.
    It is for processes that run functions of labkit's alone.
    """
    script = vars(sys.modules["__main__"])
    kept: dict[str, object] = {name: script.pop(name) for name in ("__file__", "__spec__") if name in script}
    script["__spec__"] = None
    try:
        yield
    finally:
        script.update(kept)


def status_fields(pid: int) -> list[str] | None:
    """A process in /proc/PID/stat, from its state on (proc_pid_stat(5), field 3); None where it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name before may hold anything, parentheses too.
    return text.rpartition(")")[2].split()


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float = 60.0,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    grace: float = 0.0,
    cancelled: threading.Event | None = None,
    heard: Callable[[bytes, bytes], None] | None = None,
    owned: bool = False,
) -> Completed:
    """Run ``argv`` to its end and collect its output; never raises for a non-zero status.

    The program leads its own process group, and the whole group is killed at the time-out
    (seconds) and on Ctrl-C, so that nothing it started outlives this call. With ``grace``
    (seconds) it is first asked to end with SIGTERM, for programs that have to clean up. An event
    that another thread sets, ``cancelled``, ends it like the time-out. ``heard`` is called ten times a second
    with what was written meanwhile to standard output and to standard error, and once more at the end.
    ``owned``: the group is killed also where this process is.

    Raises:
        MissingComponent: there is no such program.
    """
    words = tuple(str(word) for word in argv)
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=dict(env) if env is not None else None,
            start_new_session=True,
        )
    except OSError as error:
        # ENOTSUP: there are no processes, as in a browser.
        if not isinstance(error, FileNotFoundError | PermissionError) and error.errno != errno.ENOTSUP:
            raise
        raise MissingComponent(
            f"The program {words[0]} cannot be run: {error.strerror}.", "Run `labkit setup`."
        ) from error
    keeper = Companion(["sh", "-c", _KILL, "labkit-keeper", str(process.pid)]) if owned else None
    told = [0, 0]

    def tell(stdout: bytes | None, stderr: bytes | None) -> None:
        texts = stdout or b"", stderr or b""
        if heard:
            heard(texts[0][told[0] :], texts[1][told[1] :])
        told[:] = map(len, texts)

    try:
        stdout, stderr = _communicate(process, stdin, timeout, cancelled, tell if heard else None)
        tell(stdout, stderr)
    except subprocess.TimeoutExpired:
        _end_group(process, grace)
        stdout, stderr = _rest(process)
        tell(stdout, stderr)
        return Completed(words, process.returncode, stdout, stderr, timed_out=True)
    except BaseException:
        _end_group(process, grace)
        _rest(process)
        raise
    finally:
        if keeper:
            keeper.dismiss()
    return Completed(words, process.returncode, stdout, stderr)


def _communicate(
    process: subprocess.Popen[bytes],
    stdin: bytes,
    timeout: float,
    cancelled: threading.Event | None,
    tell: Callable[[bytes | None, bytes | None], None] | None,
) -> tuple[bytes, bytes]:
    if cancelled is None and tell is None:
        return process.communicate(stdin, timeout=timeout)
    deadline = time.monotonic() + timeout
    while True:
        try:
            return process.communicate(stdin, timeout=_LOOK)
        except subprocess.TimeoutExpired as so_far:
            if tell:
                tell(so_far.output, so_far.stderr)
            if (cancelled and cancelled.is_set()) or time.monotonic() > deadline:
                raise


def _end_group(process: subprocess.Popen[bytes], grace: float) -> None:
    try:
        if grace > 0:
            _signal_group(process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=grace)
    finally:
        _signal_group(process, signal.SIGKILL)


def _rest(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """What a killed program had written; a daemon that it left may hold the pipes open for ever."""
    try:
        return process.communicate(timeout=2)
    except subprocess.TimeoutExpired as error:
        with process:  # closes the pipes, and asks for the status
            return error.output or b"", error.stderr or b""


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
