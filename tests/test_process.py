"""What outlives this process to tidy up behind it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from labkit.process import scratch_folder

OWNER = """
import sys, time
from pathlib import Path
from labkit.process import scratch_folder
with scratch_folder("labkit-test-", Path(sys.argv[1])) as folder:
    (folder / "file").touch()
    print(folder, flush=True)
    time.sleep(1000)
"""


def test_a_scratch_folder_is_gone_with_its_block(tmp_path: Path) -> None:
    with scratch_folder("labkit-test-", tmp_path) as folder:
        (folder / "file").touch()
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_folder_is_gone_with_a_killed_owner(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().decode().strip())
        assert (folder / "file").exists()
        owner.kill()
    deadline = time.monotonic() + 60
    while folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
