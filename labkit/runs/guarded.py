"""One notebook in a guarded process of its own, which leaves nothing running."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from labkit import process
from labkit.errors import StorageError
from labkit.kernel.host import ALLOW
from labkit.runs.execution import CellFailure, Execution, Job, judge, open_log
from labkit.runs.source import NotebookSource
from labkit.show import clean

_START_TIMEOUT = 180.0
_GRACE = 15.0
_LEAST_SPACE = 1 << 16
# The path of a socket has at most 107 bytes (unix(7)); below this folder stands 27 more.
_LONGEST_FOLDER = 70
_LONGEST = 20 * 86400.0  # poll(2) takes no more than 2**31 milliseconds


def execute_guarded(
    source: NotebookSource,
    parameters: dict[str, Any],
    output: Path,
    *,
    log: Path,
    scratch: Path,
    timeout: float,
    allow_host: bool = False,
    deadline: float | None = None,
    cancelled: threading.Event | None = None,
) -> tuple[Execution, tuple[str, ...]]:
    """Run one notebook in its own guarded process; also returns the names of processes it left behind.

    log: gets what the kernel says outside of cells. scratch: where temporary files are made and removed, and
    where the record of the kernel's own TDVM is left, if it has one.
    timeout: seconds a cell may take. deadline: seconds the whole notebook may take.
    cancelled: another thread ends the notebook by it; what it came to is then of no use.
    """
    longest = min(_START_TIMEOUT + (source.cells + 1) * (timeout + 5), _LONGEST)
    with process.scratch_folder(".scratch-", scratch) as folder, _sockets(folder) as sockets:
        job = Job(
            source=str(source.path),
            kernel=source.kernel,
            output=str(output),
            outcome=str(folder / "outcome.json"),
            log=str(log),
            parameters=parameters,
            timeout=timeout,
        )
        (folder / "job.json").write_text(json.dumps(asdict(job)))
        python = [sys.executable, "-m"]
        guard = [*python, "labkit.runs._guard", str(os.getpid())]
        done = process.run(
            [*guard, *python, "labkit.runs.execution", folder / "job.json"],
            timeout=longest if deadline is None else min(deadline, longest),
            env=os.environ | _environment(folder, scratch, sockets) | ({ALLOW: "1"} if allow_host else {}),
            grace=_GRACE,
            cancelled=cancelled,
        )
        left = tuple(json.loads(done.text)) if done.text.startswith("[") else ()
        outcome = read_json(folder / "outcome.json")
        if outcome is not None:
            return Execution.from_dict(outcome), left
    if cancelled is not None and cancelled.is_set():
        return Execution(0, 0, None), ()
    if done.timed_out and deadline is not None:
        stopped = ("DeadlineExceeded", f"The notebook took longer than {deadline:g} s.")
        if read_json(output) is not None:
            return judge(job, stopped), left
        return Execution(0, 0, CellFailure(None, None, "", *stopped)), left
    if shutil.disk_usage(scratch).free < _LEAST_SPACE:
        raise StorageError(f"The disk that holds {scratch} is full.", "Free some space, and run again.")
    with open_log(log) as more:
        more.write(done.stderr)
    stopped = ("ProcessEnded", _how_it_ended(done))
    if read_json(output) is not None:
        return judge(job, stopped), left
    return Execution(0, 0, CellFailure(None, None, "", *stopped)), left


def _how_it_ended(done: process.Completed) -> str:
    """Why a notebook's process left no outcome; a guard passes a signal on as 128 more than its number."""
    number = -done.status if done.status < 0 else done.status - 128
    if number == signal.SIGKILL:
        return "The process that ran the notebook was killed; a system that is short of memory does that."
    if 0 < number < signal.NSIG:
        return f"The process that ran the notebook was ended by {signal.Signals(number).name}."
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    last = f" Its last words: {clean(said[-1])[:200]}" if said else ""
    return f"The process that ran the notebook ended with status {done.status}.{last}"


def complete(source: NotebookSource, output: Path) -> Execution | None:
    """The outcome of a notebook that ran to its end though nobody lived to say so; None where it did not."""
    notebook = read_json(output)
    if notebook is None:
        return None
    states = [
        cell.get("metadata", {}).get("papermill", {}).get("status")
        for cell in notebook.get("cells", ())
        if cell.get("cell_type") == "code"
    ]
    if not states or any(state != "completed" for state in states):
        return None
    outcome = judge(Job(str(source.path), source.kernel, str(output), "", "", {}, 0.0), None)
    return outcome if outcome.failure is None and outcome.cells_run == outcome.cells else None


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where the file is not there, or was cut short as by a kill or a full disk."""
    try:
        data = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return data if isinstance(data, dict) else None


@contextmanager
def _sockets(folder: Path) -> Iterator[Path]:
    """Where a kernel's sockets are: in ``folder``, or where that path is too long, somewhere short."""
    places = (folder, Path(tempfile.gettempdir()), Path("/tmp"))
    short = next(place for place in places if len(os.fsencode(place)) <= _LONGEST_FOLDER)
    if short == folder:
        yield folder / "runtime"
        return
    with process.scratch_folder("labkit-k-", short) as place:
        yield place


def _environment(folder: Path, records: Path, sockets: Path) -> dict[str, str]:
    """Static views, and nothing of the user's own IPython: start-up files change what a notebook does.

    records: where a kernel that is a TDVM itself leaves its record. sockets: where its connection is.
    """
    return {
        "LABKIT_UI": "static",
        "LABKIT_RUN_DIR": str(records),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(sockets),
    }
