"""How a program is run to its end, whichever that is; and what outlives this process to tidy up behind it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labkit import process
from labkit.errors import MissingComponent
from labkit.process import Companion, Completed, scratch_folder, status_fields

OWNER = """
import sys, time
from pathlib import Path
from labkit.process import scratch_folder
with scratch_folder("labkit-test-", Path(sys.argv[1])) as folder:
    (folder / "file").touch()
    print(folder, flush=True)
    time.sleep(1000)
"""


RUNNER = """
import sys
from labkit import process
process.run(
    ["sh", "-c", "echo $$; sleep 1000 & echo $!; wait"],
    timeout=1000,
    heard=lambda words, _: print(words.decode(), end="", flush=True),
    owned=True,
)
"""


def shell(script: str, **how: Any) -> Completed:
    return process.run(["sh", "-c", script], **how)


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(pid: int) -> bool:
    return (status_fields(pid) or "Z")[0] == "Z"


def test_what_a_program_wrote_and_how_it_ended_come_back() -> None:
    done = shell("cat; echo out; echo err >&2; exit 3", stdin=b"in\n")
    assert (done.status, done.stdout, done.stderr) == (3, b"in\nout\n", b"err\n")
    assert (done.timed_out, done.ok, done.argv[:2]) == (False, False, ("sh", "-c"))
    assert shell("printf '\\377'").text == "\N{REPLACEMENT CHARACTER}"
    assert shell("kill -s USR1 $$").status == -signal.SIGUSR1
    assert shell(":").ok


def test_a_program_has_the_environment_that_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_OF_THE_TEST", "inherited")
    show = 'echo "$LABKIT_OF_THE_TEST $GIVEN"; pwd'
    assert shell(show, cwd=tmp_path).text == f"inherited \n{tmp_path}\n"
    given = {"PATH": os.environ["PATH"], "GIVEN": "given"}
    assert shell(show, env=given).text == f" given\n{Path.cwd()}\n"


def test_a_program_that_cannot_be_started_is_missing_and_another_fault_is_itself(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    for path in (tmp_path / "nothing", tmp_path / "text"):
        with pytest.raises(MissingComponent, match=f"The program {path} cannot be run"):
            process.run([path])
    with pytest.raises(OSError, match="too long"):
        process.run(["true", "x" * (1 << 20)])


def late(script: str, **how: Any) -> Completed:
    """What becomes of a program whose time is up, and that had come so far as to write to standard error."""
    for timeout in (0.2, 1, 5, 25):
        done = shell(script, timeout=timeout, **how)
        assert done.timed_out
        if done.stderr:
            break
    return done


@pytest.mark.parametrize("way", ["late", "cancelled", "late and not cancelled"])
def test_a_program_that_is_ended_ends_with_all_that_it_started(way: str) -> None:
    script = "sleep 60 & echo $! $$; echo err >&2; wait"
    cancelled = threading.Event()

    def hear(_: bytes, stderr: bytes) -> None:
        if stderr:
            cancelled.set()

    if way == "late":
        done = late(script)
    elif way == "cancelled":
        done = shell(script, cancelled=cancelled, heard=hear, owned=True)
    else:
        done = late(script, cancelled=cancelled)
    assert (done.status, done.stderr, done.timed_out, done.ok) == (-signal.SIGKILL, b"err\n", True, False)
    background, leader = map(int, done.text.split())
    assert status_fields(leader) is None
    wait_until(lambda: ended(background))


def test_what_a_daemon_keeps_open_is_not_waited_for() -> None:
    done = late("setsid sh -c 'echo $$; echo err >&2; exec sleep 60' & wait")
    daemon = int(done.text)
    try:
        assert (done.status, done.stderr) == (-signal.SIGKILL, b"err\n")
        assert not ended(daemon)
    finally:
        os.kill(daemon, signal.SIGKILL)


@pytest.mark.parametrize(("grace", "said", "status"), [(60.0, "tidy", 0), (0.0, "", -signal.SIGKILL)])
def test_a_program_with_grace_may_tidy_up(grace: float, said: str, status: int) -> None:
    done = late("trap 'echo tidy; exit 0' TERM; sleep 60 & echo begun >&2; wait", grace=grace)
    assert (done.text.strip(), done.status, done.ok) == (said, status, False)


def test_what_is_written_is_heard_once_and_while_the_program_runs(tmp_path: Path) -> None:
    heard: list[tuple[bytes, bytes]] = []

    def hear(stdout: bytes, stderr: bytes) -> None:
        heard.append((stdout, stderr))
        if b"one" in stdout:
            (tmp_path / "go").touch()

    wait = f"until [ -e {tmp_path}/go ]; do sleep 0.02; done"
    done = shell(f"echo one; echo eins >&2; {wait}; echo two; echo zwei >&2", heard=hear)
    assert done.ok
    assert b"".join(stdout for stdout, _ in heard) == done.stdout == b"one\ntwo\n"
    assert b"".join(stderr for _, stderr in heard) == done.stderr == b"eins\nzwei\n"


def test_what_stops_the_caller_ends_the_program() -> None:
    pids: list[int] = []

    def stop(stdout: bytes, _: bytes) -> None:
        if stdout:
            pids.append(int(stdout))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shell("echo $$; sleep 60", heard=stop)
    assert ended(pids[0])


def test_a_companion_does_its_work_when_it_is_released_and_not_when_it_is_dismissed(tmp_path: Path) -> None:
    def companion(script: str) -> Companion:
        return Companion(["sh", "-c", f'read -r _; {script}; echo "$PWD" >"$1"', "sh", tmp_path / "note"])

    assert not companion("exit 1").release()
    assert not companion("sleep 60").release(timeout=0.1)
    companion(":").dismiss()
    assert not (tmp_path / "note").exists()
    one = companion(":")
    assert one.release()
    assert (tmp_path / "note").read_text() == "/\n"
    assert one.release()


def test_a_program_that_is_owned_ends_with_a_killed_owner() -> None:
    words = [sys.executable, "-c", RUNNER]
    with subprocess.Popen(words, stdout=subprocess.PIPE, process_group=0) as owner:
        assert owner.stdout is not None
        pids = [int(owner.stdout.readline()) for _ in range(2)]
        assert all(map(status_fields, pids))
        # With its whole group, as a terminal that is closed does it.
        os.killpg(owner.pid, signal.SIGKILL)
    wait_until(lambda: all(map(ended, pids)))


def test_what_an_owned_program_leaves_in_the_background_stays_after_its_end() -> None:
    done = process.run(["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"], owned=True)
    pid = int(done.text)
    fields = status_fields(pid)
    try:
        assert fields is not None
        assert fields[0] != "Z"
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_scratch_folder_is_gone_with_its_block(tmp_path: Path) -> None:
    with scratch_folder("labkit-test-", tmp_path) as folder:
        (folder / "file").touch()
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []
    with scratch_folder("labkit-test-", tmp_path) as folder:
        folder.rmdir()


def test_a_scratch_folder_is_gone_with_a_killed_owner(tmp_path: Path) -> None:
    words = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, process_group=0) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().decode().strip())
        assert (folder / "file").exists()
        os.killpg(owner.pid, signal.SIGKILL)
    wait_until(lambda: not folder.exists())
