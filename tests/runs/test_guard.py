"""The guard with small shell programs in place of a kernel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from labkit import process
from labkit.process import Completed


def guarded(script: str, *, parent: int | None = None, cancelled: threading.Event | None = None) -> Completed:
    guard = [sys.executable, "-m", "labkit.runs._guard", str(os.getpid() if parent is None else parent)]
    return process.run([*guard, "sh", "-c", script], timeout=60, grace=30, cancelled=cancelled)


def test_status_and_complaints_of_the_program_come_through() -> None:
    done = guarded("echo lost; echo oops >&2; exit 7")
    assert (done.status, json.loads(done.text), done.stderr) == (7, [], b"lost\noops\n")


def test_daemons_in_sessions_of_their_own_are_ended_and_named() -> None:
    daemon = "setsid sh -c 'sleep 1000 & echo up; sleep 1001'"
    done = guarded(f"({daemon} &) | head -n 1")
    assert done.status == 0
    names = json.loads(done.text)
    assert len(names) >= 2
    assert set(names) <= {"sh", "sleep"}


def test_what_ignores_the_polite_request_is_killed() -> None:
    deaf = "setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.1; done' 2>/dev/null &"
    done = guarded(f"({deaf}) | head -n 1 >&2")
    assert done.status == 0
    assert "sh" in json.loads(done.text)
    assert not Path(f"/proc/{int(done.stderr)}").exists()


def test_a_request_to_end_still_cleans_up(tmp_path: Path) -> None:
    ready, cancelled = tmp_path / "ready", threading.Event()

    def cancel() -> None:
        while not ready.exists():
            time.sleep(0.02)
        cancelled.set()

    threading.Thread(target=cancel, daemon=True).start()
    done = guarded(f"setsid sleep 1000 & echo $! >{ready}; wait", cancelled=cancelled)
    assert done.timed_out
    assert done.status == 143
    assert "sleep" in json.loads(done.text)


def test_a_program_that_dies_of_a_signal_has_a_status_as_in_a_shell() -> None:
    assert guarded("kill -KILL $$").status == 137


def test_a_guard_whose_parent_is_gone_starts_nothing() -> None:
    assert guarded("exit 0", parent=1).status == 143


def test_a_request_that_comes_while_the_guard_doubles_itself_is_heard() -> None:
    for _ in range(12):
        guard = [sys.executable, "-m", "labkit.runs._guard", str(os.getpid()), "sleep", "1000"]
        process = subprocess.Popen(guard, stdout=subprocess.DEVNULL, start_new_session=True)
        below = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not below.read_text():
            assert process.poll() is None
        try:
            # Both are told, and the second may not have run at all.
            os.killpg(process.pid, signal.SIGTERM)
            assert process.wait(30) == 143
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def test_what_is_guarded_hears_signals_itself() -> None:
    done = guarded("grep SigBlk /proc/self/status; trap 'exit 3' TERM; kill -TERM $$; exit 4")
    assert (done.status, done.stderr) == (3, b"SigBlk:\t0000000000000000\n")
