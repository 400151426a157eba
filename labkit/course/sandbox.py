"""Run a submission's code where it can harm nobody: a fresh process in bubblewrap, without network, bounded.

Inside, only the Python that runs, its packages and labkit are there, read-only, and an empty folder in
memory. The course's seed, other submissions and the home folder are not there. As root the process becomes an
ordinary user first, so that its limit of processes counts. What all processes inside do together is looked
at while they run, for the kernel bounds each process alone.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import signal
import site
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import labkit
from labkit.course._given import given_json
from labkit.course._seccomp import seccomp_filter
from labkit.course.family import asleep, family, larger, worked
from labkit.errors import MissingComponent

_LONGEST_LINE = 4 << 20
_FIRST_UID, _UIDS = 230_000, 480_000
_COUNTER = itertools.count()
_LOOK = 0.25
"""Seconds between two looks at the processes of a sandbox."""
_HOME = "/submission"
_OUT_OF_TIME = 128 + signal.SIGXCPU
_KILLED = 128 + signal.SIGKILL


@dataclass(frozen=True)
class Limits:
    """What code may use.

    seconds: processor time of all processes together. memory: bytes of a process's address space, and of all
    processes together.
    processes, files: how many at once. disk: bytes that may be written to a folder, in memory.
    """

    seconds: float = 30.0
    memory: int = 1 << 30
    processes: int = 16
    files: int = 64
    disk: int = 64 << 20

    @property
    def wall(self) -> float:
        """Seconds until a run is ended, whatever it waits for; a busy machine must not fail honest code."""
        return 3 * self.seconds + 10

    @property
    def asleep(self) -> float:
        """Seconds that all processes may sleep, in all: nothing comes to them but what the grader says."""
        return self.seconds / 2


class SandboxTimeout(Exception):
    """The code did not end in time; the message says what it did instead, without a subject."""


class SandboxDied(Exception):
    """The code ended without the answer that was waited for; what it did is in the message."""


def bubblewrap() -> str | None:
    """The bwrap of this machine, if there is one."""
    return shutil.which("bwrap")


def require_bubblewrap() -> str:
    """The bwrap of this machine.

    Raises:
        MissingComponent: there is none.
    """
    found = bubblewrap()
    if found is None:
        raise MissingComponent(
            "Code of students is only run inside bubblewrap, which is not installed.",
            "Run: apt-get install bubblewrap",
        )
    return found


@lru_cache(maxsize=1)
def _read_only() -> tuple[str, ...]:
    """Folders that the Python inside needs; nothing of a home folder but the environment that runs."""
    wanted = {sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), str(Path(labkit.__file__).parent)}
    wanted |= set(site.getsitepackages())
    wanted |= {str(Path(sys.executable).resolve().parent), "/usr", "/lib", "/lib64", "/bin", "/sbin"}
    wanted |= {"/etc/ld.so.cache", "/etc/ssl", "/etc/alternatives", "/etc/localtime"}
    present = sorted(path for path in wanted if Path(path).exists())
    return tuple(
        path
        for path in present
        if not any(path.startswith(f"{other}/") for other in present if other != path)
    )


def command(limits: Limits, role: str, seccomp: int) -> list[str]:
    """The command line of a sandbox that runs ``labkit.course._inside`` in a role.

    seccomp: the descriptor from which bubblewrap reads its filter of system calls.
    """
    arguments = [require_bubblewrap(), "--die-with-parent", "--new-session", "--unshare-ipc"]
    arguments += ["--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    arguments += ["--clearenv", "--hostname", "sandbox"]
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    arguments += ["--seccomp", str(seccomp)]
    for folder in ("/tmp", "/dev/shm", _HOME):
        arguments += ["--perms", "1777", "--size", str(limits.disk), "--tmpfs", folder]
    # After the folders in memory: an environment may lie below /tmp.
    bound = _read_only()
    # What leads to them anybody may pass through: the user inside is another one.
    for above in sorted({str(parent) for path in bound for parent in Path(path).parents} - {"/", "/tmp"}):
        arguments += ["--perms", "0755", "--dir", above]
    for path in bound:
        if Path(path).is_symlink():
            arguments += ["--symlink", str(Path(path).readlink()), path]
        else:
            arguments += ["--ro-bind", path, path]
    if os.geteuid() == 0:
        # An ordinary user's processes are counted, root's are not; a number of its own keeps runs apart.
        uid = _FIRST_UID + (os.getpid() * 8 + next(_COUNTER) % 8) % _UIDS
        arguments += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        uid = 0
        arguments += ["--unshare-user"]
    # Whoever made these folders could fill them: only those with a size are for writing.
    for folder in ("/dev", "/"):
        arguments += ["--remount-ro", folder]
    for name, value in {
        "PATH": "/usr/bin:/bin",
        "HOME": _HOME,
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "OPENBLAS_NUM_THREADS": "1",
    }.items():
        arguments += ["--setenv", name, value]
    settings = json.dumps(
        {
            "memory": limits.memory,
            "processes": limits.processes,
            "files": limits.files,
            "disk": limits.disk,
            "cpu": max(1, int(limits.seconds)),
            "uid": uid,
        }
    )
    arguments += ["--chdir", _HOME, "--", sys.executable, "-m", "labkit.course._inside", role, settings]
    return arguments


class Conversation:
    """Lines of JSON to and from the code inside, until the time is up.

    verdict: why the sandbox was ended, once it was.
    """

    def __init__(self, process: subprocess.Popen[bytes], limits: Limits) -> None:
        self._process = process
        self._limits = limits
        self._began = time.monotonic()
        self._waits = False
        self.verdict: SandboxTimeout | SandboxDied | None = None

    @property
    def waits(self) -> bool:
        """The next word is the code's: the grader waits for it, and nothing that was said is unread."""
        return self._waits and not _readable(self._process.stdout)

    def send(self, document: Any) -> None:
        """Write one document.

        Raises:
            SandboxTimeout, SandboxDied: nobody reads it.
        """
        stream = self._process.stdin
        assert stream is not None
        try:
            with self._waiting():
                stream.write(json.dumps(document).encode() + b"\n")
                stream.flush()
        except (OSError, ValueError):
            raise self._ended() from None

    def receive(self) -> Any:
        """Read one document.

        Raises:
            SandboxTimeout, SandboxDied: none comes, or it is not JSON.
        """
        stream = self._process.stdout
        assert stream is not None
        with self._waiting():
            line = _line(stream)
        if not line.endswith(b"\n"):
            raise self._ended()
        try:
            return given_json(line)
        except ValueError:
            raise SandboxDied("it wrote something that is not an answer") from None

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    def _ended(self) -> Exception:
        if self.verdict:
            return self.verdict
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return SandboxDied("it closed its output")
        # Who does not listen to the first limit of time is killed at the second.
        late = time.monotonic() - self._began > self._limits.seconds
        if status == _OUT_OF_TIME or (status == _KILLED and late):
            return _too_slow(self._limits)
        names = {_KILLED: "it was killed, for memory or processes", 153: "it wrote too much"}
        return SandboxDied(names.get(status, f"it ended with status {status}"))


def _too_slow(limits: Limits) -> SandboxTimeout:
    return SandboxTimeout(f"did not end within {limits.seconds:g} seconds of work")


def _too_sleepy(limits: Limits) -> SandboxTimeout:
    return SandboxTimeout(
        f"slept for {limits.asleep:g} seconds in all, and nothing in the sandbox is worth waiting for"
    )


def _readable(stream: IO[bytes] | None) -> bool:
    waiting = select.poll()
    if stream is not None:
        waiting.register(stream, select.POLLIN)
    return bool(waiting.poll(0))


def _line(stream: IO[bytes]) -> bytes:
    return stream.readline(_LONGEST_LINE)


@contextmanager
def sandbox(limits: Limits, role: str) -> Iterator[Conversation]:
    """A sandbox for one conversation; whatever is left of it is killed at the end.

    Raises:
        MissingComponent: bubblewrap is not installed.
    """
    reading, writing = os.pipe()
    try:
        os.write(writing, seccomp_filter())
        os.close(writing)
        process = subprocess.Popen(
            command(limits, role, reading),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={"PATH": "/usr/bin:/bin"},
            pass_fds=(reading,),
        )
    finally:
        os.close(reading)
    talk = Conversation(process, limits)
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process, talk, limits, over), daemon=True)
    watcher.start()
    try:
        yield talk
    finally:
        over.set()
        _kill(process)
        watcher.join()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        process.wait()


def _watch(
    process: subprocess.Popen[bytes], talk: Conversation, limits: Limits, over: threading.Event
) -> None:
    """End a sandbox when its time is up, when it sleeps, or when its processes take too much together."""
    end = time.monotonic() + limits.wall
    slept = took = 0.0
    while not over.wait(_LOOK):
        members = family(process.pid)
        before, took = took, worked(members)
        if took == before and talk.waits and asleep(members):
            slept += _LOOK
        if took > limits.seconds or time.monotonic() > end:
            talk.verdict = _too_slow(limits)
        elif slept > limits.asleep:
            talk.verdict = _too_sleepy(limits)
        elif larger(members, limits.memory):
            talk.verdict = SandboxDied("it was killed, for memory")
        if talk.verdict:
            _kill(process)
            return


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Bubblewrap is the first process of its namespace: with it, everything inside ends."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            process.kill()


@dataclass(frozen=True)
class Ran:
    """What running a notebook's code came to: the answers it wrote, and the first error if there was one."""

    answers: Mapping[str, Any]
    error: str = ""


def run_cells(code: list[str], files: Mapping[str, bytes], limits: Limits) -> Ran:
    """Run code cells one after the other, as a notebook would, and take what goes to ``answers.json``.

    Raises:
        SandboxTimeout: they did not end in time.
        SandboxDied: they ended without an answer.
        MissingComponent: bubblewrap is not installed.
    """
    packed = {name: base64.b64encode(data).decode() for name, data in files.items()}
    with sandbox(limits, "cells") as talk:
        talk.send({"files": packed, "cells": code, "answers": "answers.json"})
        document = talk.receive()
    if not isinstance(document, dict):
        raise SandboxDied("it wrote something that is not an answer")
    answers = document.get("answers")
    return Ran(answers if isinstance(answers, dict) else {}, str(document.get("error", ""))[:500])
