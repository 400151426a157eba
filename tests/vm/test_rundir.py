"""A run's directory is its owner's alone."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

from labkit.settings import Settings
from labkit.vm.rundir import RunDir


def test_no_other_user_can_change_a_run_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        run = RunDir.create(replace(Settings.load(), state_dir=tmp_path / "state"))
        run.write_json("result.json", {})
        run.close()
    finally:
        os.umask(before)
    for path in (tmp_path / "state").rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
