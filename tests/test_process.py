"""What outlives this process to tidy up behind it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from labkit import process
from labkit.process import scratch_folder, status_fields

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


def test_a_program_that_is_owned_ends_with_a_killed_owner() -> None:
    with subprocess.Popen([sys.executable, "-c", RUNNER], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pids = [int(owner.stdout.readline()) for _ in range(2)]
        assert all(map(status_fields, pids))
        owner.kill()
    deadline = time.monotonic() + 60
    while any((status_fields(pid) or "Z")[0] != "Z" for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


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
