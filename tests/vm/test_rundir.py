"""A run's directory is its owner's alone, and what is left of dead owners is ended by the next run."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from labkit.errors import StorageError, UsageError
from labkit.settings import Settings
from labkit.vm import rundir
from labkit.vm.rundir import RunDir, RunningVm, forget_old, running, stop


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(Settings.load(), state_dir=tmp_path / "state")


@contextmanager
def stand_in(name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose command line names a run, as that of its QEMU does."""
    command = ["/bin/sh", "-c", "echo; read line", name]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        # A process has its command line a moment after it was started.
        assert process.stdout
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def describe(run: RunDir, pid: int, name: str | None = None) -> RunningVm:
    machine = RunningVm(name or run.path.name, os.getpid(), pid, 0.0, "tcg", 256, str(run.path))
    run.write_json("vm.json", asdict(machine))
    return machine


def left_behind(run: RunDir) -> None:
    """Its owner was killed: nobody holds the lock, and everything else is still there."""
    (run.path / "work").mkdir()
    kept = (run.path / "vm.json").read_bytes()
    run.close()
    (run.path / "vm.json").write_bytes(kept)
    (run.path / "lock").touch()


def test_no_other_user_can_change_a_run_whatever_the_umask_is(settings: Settings) -> None:
    before = os.umask(0)
    try:
        run = RunDir.create(settings)
        run.write_json("result.json", {})
        run.close()
    finally:
        os.umask(before)
    for path in settings.state_dir.rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_what_a_dead_owner_left_is_ended_and_no_process_of_another(
    settings: Settings,
) -> None:
    dead, reused, living = (RunDir.create(settings) for _ in range(3))
    with stand_in(dead.path.name) as own, stand_in("another") as stranger, stand_in(living.path.name) as busy:
        describe(dead, own.pid)
        describe(reused, stranger.pid)
        machine = describe(living, busy.pid)
        assert len(running(settings)) == 3
        left_behind(dead)
        left_behind(reused)
        assert running(settings) == [machine]
        forget_old(settings)
        assert own.wait(30) == -signal.SIGKILL
        assert (stranger.poll(), busy.poll()) == (None, None)
    for run in (dead, reused):
        assert sorted(path.name for path in run.path.iterdir()) == ["lock"]
    assert (living.path / "vm.json").exists()
    living.close()


def test_stop_ends_the_machine_that_is_named_and_no_process_that_took_its_number(settings: Settings) -> None:
    first, second = RunDir.create(settings), RunDir.create(settings)
    with stand_in(first.path.name) as one, stand_in("another") as stranger:
        machine = describe(first, one.pid)
        describe(second, stranger.pid)
        with pytest.raises(UsageError, match="No TDVM nowhere is running"):
            stop(settings, "nowhere")
        assert stop(settings, machine.id) == [machine]
        assert one.wait(30) == -signal.SIGTERM
        assert len(stop(settings)) == 2
        assert stranger.poll() is None
    first.close()
    second.close()


def test_forty_ended_runs_are_kept_and_the_oldest_go(settings: Settings) -> None:
    RunDir.create(settings).close()
    parent = settings.state_dir / "tdvms"
    for path in parent.iterdir():
        (path / "console.log").touch()
    for number in range(42):
        (parent / f"00000000-{number:06}").mkdir()
    run = RunDir.create(settings)
    forget_old(settings)
    kept = sorted(path.name for path in parent.iterdir())
    assert len(kept) == 41
    assert kept[0] == "00000000-000003"
    assert run.path.name in kept
    run.close()


def test_how_long_a_machine_is_idle_is_told_by_its_shells_log(settings: Settings) -> None:
    run = RunDir.create(settings)
    machine = describe(run, os.getpid())
    assert machine.idle == 0.0
    log = run.path / "shell.log"
    log.touch()
    os.utime(log, (0, log.stat().st_mtime - 100))
    assert 100 <= machine.idle < 200
    os.utime(log, (0, log.stat().st_mtime + 1000))
    assert machine.to_dict() == {**asdict(machine), "idle_seconds": 0.0}
    run.close()


def test_a_state_directory_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written: File exists") as refused:
        RunDir.create(Settings(cache_dir=tmp_path, state_dir=tmp_path / "file"))
    assert "LABKIT_STATE_DIR" in refused.value.remedy


def test_a_machine_that_does_not_listen_is_killed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rundir, "_PATIENCE", 0.05)
    run = RunDir.create(settings)
    words = ["/bin/sh", "-c", "trap '' TERM; echo ready; while read line; do :; done", run.path.name]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        assert deaf.stdout.readline() == b"ready\n"
        describe(run, deaf.pid)
        stop(settings)
        assert deaf.wait(30) == -signal.SIGKILL
    run.close()
