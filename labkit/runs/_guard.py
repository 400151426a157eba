"""Runs one program and lets nothing that it started outlive it.

Called as ``python -m labkit.runs._guard PARENT ARGV…``, with the process id of the caller.

A notebook's kernel leads its own session and may start daemons, so killing a process group does not
reach them. This process is a *child subreaper* (prctl(2)): whatever loses its parent below it becomes
its child and is found. It ends with the program, at SIGTERM, and when its own parent dies for any reason.
It is two processes, one below the other, so that where one is killed the other still does this.
The program's output goes to standard error; standard output gets the names of what had to be ended, as one
JSON list.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from labkit.runs._prctl import adopt_orphans, die_with_parent

GRACE = 3.0
"""Seconds that left-over processes have between SIGTERM and SIGKILL."""

# Blocked, and waited for: Python's handlers forget what arrives before a new fork has run, and a wait that
# is about to begin does not hear them.
_NEWS = (signal.SIGTERM, signal.SIGCHLD)


def main(argv: list[str]) -> int:
    """Run ``argv[1:]`` for process ``argv[0]``; returns its status (128 + signal), or 143 after SIGTERM."""
    parent, words = int(argv[0]), argv[1:]
    signal.pthread_sigmask(signal.SIG_BLOCK, _NEWS)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not _stand_by(parent):
        return 143
    first = os.getpid()
    second = os.fork()
    if second == 0:
        return _run(words) if _stand_by(first) else 143
    status = _wait(second)
    if status is None:
        os.kill(second, signal.SIGTERM)
        status = os.waitstatus_to_exitcode(os.waitpid(second, 0)[1])
    names = _end_children()
    if status < 0:
        _tell(names)
    return status if status >= 0 else 128 - status


def _stand_by(parent: int) -> bool:
    """Adopt orphans and end with the parent; whether it was still there."""
    adopt_orphans()
    die_with_parent(signal.SIGTERM)
    return os.getppid() == parent


def _run(words: list[str]) -> int:
    """Run the program, and end what it leaves."""
    # Not `labkit.process`: its pipes would be held open by the very daemons that are to be ended.
    pid = os.posix_spawnp(
        words[0],
        words,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)],
        setsigmask=[],
        setsigdef=[signal.SIGINT],
    )
    status = _wait(pid)
    _tell(_end_children())
    if status is None:
        return 143
    return status if status >= 0 else 128 - status


def _wait(pid: int) -> int | None:
    """The status of a child that ended; None where SIGTERM came first."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if signal.sigwait(_NEWS) == signal.SIGTERM:
            return None


def _tell(names: list[str]) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(names) + "\n")


def _end_children() -> list[str]:
    """End every process below this one: SIGTERM, then SIGKILL after the grace time; returns their names.

    Ending a process makes its children ours, so the rounds go on until there is none.
    """
    names: dict[int, str] = {}
    deadline = time.monotonic() + GRACE
    while _reap():
        number = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        for pid, name in _children():
            if pid not in names or number == signal.SIGKILL:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            names.setdefault(pid, name)
        time.sleep(0.02)
    return sorted(names.values())


def _reap() -> bool:
    """Collect every child that has ended; whether there are others."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _children() -> list[tuple[int, str]]:
    """Process id and name of each living child, from /proc/PID/stat (proc_pid_stat(5))."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            stat = (folder / "stat").read_text(errors="replace")
        except OSError:
            continue
        name, _, rest = stat.partition("(")[2].rpartition(")")
        state, ppid = rest.split()[:2]
        if int(ppid) == os.getpid() and state != "Z":
            found.append((int(folder.name), name))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
