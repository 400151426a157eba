"""Workers, the scheduler and the client die at random moments: the table is the same, and every row ran once.

It takes minutes, and runs where LABKIT_KILLS says how many shall die; LABKIT_KILLS_SEED repeats a sequence,
and with LABKIT_KILLS_VM every row boots a TDVM.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.runs.notebooks import code, parameters, write_notebook
from tests.studies.test_sweep import LABKIT, _processes_of, _table, _until

KILLS = int(os.environ.get("LABKIT_KILLS", "0"))
SEED = int(os.environ.get("LABKIT_KILLS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
DASK = Path(sys.executable).with_name("dask")
BOOTS = bool(os.environ.get("LABKIT_KILLS_VM"))
ROWS = 4 if BOOTS else 12
WORK = """
import time
from labkit.show.recorded import record
record("square", size * size)
time.sleep(1)
if size == 3:
    raise ValueError("three")
"""
BOOT = """
from labkit import lab
tdvm = lab.boot("emulated")
print(tdvm.run("uname -s"))
"""
COUNT = "with open(log, 'a') as file:\n    file.write(f'{size}\\n')"


class Cluster:
    """A scheduler, two workers and a client; what ended is started again, as a service manager would."""

    def __init__(self, port: int, scratch: Path, client: list[str]) -> None:
        self.address = f"tcp://127.0.0.1:{port}"
        worker = [str(DASK), "worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        worker += ["--local-directory", str(scratch), "--death-timeout", "60"]
        self._words = {
            "scheduler": [
                str(DASK),
                "scheduler",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--no-dashboard",
            ],
            "one": worker,
            "two": worker,
            "client": [*client, "--scheduler", self.address],
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        self.keep(self._words)
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("client", "one", "two", "scheduler"):
            self.kill(name)

    def keep(self, names: object) -> None:
        """Start those of the names that do not run."""
        for name in names:  # type: ignore[attr-defined]
            if name not in self._processes or self._processes[name].poll() is not None:
                self._processes[name] = subprocess.Popen(
                    self._words[name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )

    def kill(self, name: str) -> None:
        self._processes[name].send_signal(signal.SIGKILL)
        self._processes[name].wait()

    def ended(self) -> int | None:
        """How the client ended, if it did by itself."""
        return self._processes["client"].poll()


@pytest.mark.skipif(not KILLS, reason="LABKIT_KILLS says how many processes shall die")
def test_whoever_dies_the_table_is_the_same_and_no_row_ran_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(SEED)
    monkeypatch.setenv("LABKIT_STATE_DIR", str(tmp_path / "state"))
    log = tmp_path / "log"
    book = write_notebook(
        tmp_path / "work.ipynb",
        parameters("size = 1\nlog = ''"),
        code(BOOT if BOOTS else ""),
        code(WORK),
        code(COUNT),
    )
    table = _table(tmp_path / "t.csv", [{"size": size, "log": str(log)} for size in range(1, ROWS + 1)])
    command = [str(LABKIT), "sweep", str(book), "--over", str(table), "--output"]
    quiet, out = tmp_path / "quiet", tmp_path / "out"
    assert subprocess.run([*command, str(quiet), "-j", "2"], capture_output=True).returncode == 1
    assert sorted(log.read_text().split()) == sorted(str(n) for n in range(1, ROWS + 1) if n != 3)
    log.unlink()

    died: list[str] = []
    with Cluster(draw.randrange(20_000, 30_000), tmp_path / "scratch", [*command, str(out)]) as cluster:
        while cluster.ended() is None:
            if len(died) < KILLS:
                time.sleep(draw.uniform(0.2, 6))  # a random moment is what is tested
                died.append(draw.choice(["scheduler", "one", "two", "client"]))
                cluster.kill(died[-1])
                cluster.keep(["scheduler", "one", "two", "client"])
            else:
                cluster.keep(["scheduler", "one", "two"])
                time.sleep(0.2)
        assert cluster.ended() == 1
    told = f"LABKIT_KILLS_SEED={SEED}; died: {', '.join(died)}"
    assert (out / "results.csv").read_bytes() == (quiet / "results.csv").read_bytes(), told
    assert sorted(log.read_text().split()) == sorted(str(n) for n in range(1, ROWS + 1) if n != 3), told
    # The names of a TDVM's files are in the arguments of its QEMU and of what guards it.
    _until(lambda: not _processes_of(tmp_path))
    shutil.rmtree(tmp_path / "scratch", ignore_errors=True)
