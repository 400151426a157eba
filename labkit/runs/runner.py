"""Runs notebooks one after the other, each in a fresh process, into a run directory with its record."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labkit import process
from labkit.errors import MissingComponent, StorageError, UsageError
from labkit.kernel.host import ALLOW, REFUSAL
from labkit.kernel.installing import NAME as KERNEL_NAME
from labkit.runs._guests import GUEST, for_guest
from labkit.runs.execution import CellFailure, Execution, Job, judge, open_log
from labkit.runs.parameters import assign
from labkit.runs.record import (
    Chapter,
    Run,
    collect_git,
    collect_host,
    collect_tools,
    collect_versions,
    finish,
    read_results,
    result_files,
    write_record,
)
from labkit.runs.source import NotebookSource, find_notebooks, load_source, near, repository
from labkit.settings import Settings
from labkit.show import clean

CELL_TIMEOUT = 600.0
"""Seconds that a cell may take, unless the caller says otherwise."""

_START_TIMEOUT = 180.0
_GRACE = 15.0
_LEAST_SPACE = 1 << 16
# The path of a socket has at most 107 bytes (unix(7)); below this folder stands 27 more.
_LONGEST_FOLDER = 70
_LONGEST = 20 * 86400.0  # poll(2) takes no more than 2**31 milliseconds


@dataclass(frozen=True)
class RunPlan:
    """Everything about a run that is known, and has been checked, before anything runs.

    left_out: names of notebooks that were asked for, and that do not take the guest of the run.
    """

    sources: tuple[NotebookSource, ...]
    parameters: dict[str, dict[str, Any]]
    directory: Path
    timeout: float
    start: Path
    allow_host: bool = False
    left_out: tuple[str, ...] = ()


def plan_run(
    notebooks: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
    *,
    output: Path | None = None,
    timeout: float = CELL_TIMEOUT,
    start: Path | None = None,
    now: datetime | None = None,
    allow_host: bool = False,
) -> RunPlan:
    """Check a request to run notebooks; writes nothing.

    notebooks: paths or chapter names; none means the guided chapters in order.
    parameters: each goes to the notebooks that have it; text is parsed as ``-p`` does. With a ``guest`` other
    than Linux, notebooks without that parameter are left out.
    output: the run directory, which must be new or empty; ``runs/<UTC time>`` by default.
    timeout: seconds a cell may take. start: the folder that paths are relative to. allow_host: cells of a
    notebook for the TDVM may run on the host (``%%host``); otherwise only those of labkit's own notebooks.

    Raises:
        UsageError: a notebook is missing, a parameter unknown, the directory in use.
        DataError: a file is not a valid notebook.
        MissingComponent: a notebook's kernel is not installed, or that of the guest is not in the cache.
    """
    here = (start or Path.cwd()).resolve()
    if timeout <= 0:
        raise UsageError(f"A time-out of {timeout:g} s leaves no time to run.", "Give a positive number.")
    found = [load_source(path) for path in find_notebooks(notebooks, here)]
    sources, left_out = for_guest(found, (parameters or {}).get(GUEST))
    check_kernels(sources)
    directory = _directory(output, here, now or datetime.now(UTC))
    values = assign(sources, parameters or {}, directory)
    return RunPlan(sources, values, directory, timeout, here, allow_host, left_out)


def run_plan(plan: RunPlan, on_progress: Callable[[str], None] = lambda _text: None) -> Run:
    """Run every notebook of a plan, also after one has failed, and keep the record up to date.

    A failed chapter keeps its partial notebook. On Ctrl-C the chapter's process, its kernel and what they
    started are ended, the record says ``interrupted``, and KeyboardInterrupt goes on.
    ``on_progress`` gets pieces of progress text: the start of a chapter's line, then its end.
    """
    for folder in ("executed", "logs"):
        # What a notebook printed is its owner's alone; a site that is to be seen is copied elsewhere.
        plan.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        (plan.directory / folder).mkdir(exist_ok=True, mode=0o700)
    began = time.monotonic()
    run = Run(
        directory=plan.directory,
        status="running",
        started=_now(),
        finished=None,
        seconds=0.0,
        host=collect_host(),
        versions=collect_versions(),
        git=collect_git(plan.sources[0].path.parent),
    )
    write_record(run)
    if plan.left_out:
        guest = plan.parameters[plan.sources[0].name][GUEST]
        on_progress(f"left out, since they take no guest ({guest}): {', '.join(plan.left_out)}\n")
    for number, source in enumerate(plan.sources, 1):
        on_progress(f"[{number}/{len(plan.sources)}] {source.name} ... ")
        try:
            chapter, versions = _run_chapter(plan, source)
        except StorageError:
            on_progress("stopped\n")
            raise
        run = replace(run, chapters=(*run.chapters, chapter), versions={**versions, **run.versions})
        on_progress(_ended(chapter))
        if chapter.status == "interrupted":
            write_record(finish(run, "interrupted", _now(), _since(began)))
            raise KeyboardInterrupt
        write_record(run)
    # At the end: a chapter may have been what set the platform up.
    tools = collect_tools(Settings.load())
    run = replace(run, versions={**run.versions, **{k: v for k, v in tools.items() if k not in run.versions}})
    run = finish(run, "failed" if run.failed else "passed", _now(), _since(began))
    write_record(run)
    return run


def _run_chapter(plan: RunPlan, source: NotebookSource) -> tuple[Chapter, dict[str, str]]:
    before = result_files(plan.directory)
    output = plan.directory / "executed" / f"{source.name}.ipynb"
    started, began = _now(), time.monotonic()
    try:
        outcome, left = execute_guarded(
            source,
            plan.parameters[source.name],
            output,
            log=plan.directory / "logs" / f"{source.name}.log",
            scratch=plan.directory,
            timeout=plan.timeout,
            allow_host=plan.allow_host,
        )
        status = "passed" if outcome.failure is None else "failed"
    except KeyboardInterrupt:
        outcome, left, status = Execution(0, 0, None), (), "interrupted"
    names = tuple(name for name, state in result_files(plan.directory).items() if before.get(name) != state)
    reported, versions = read_results(plan.directory, names)
    data = output.read_bytes() if _read_json(output) is not None else None
    chapter = Chapter(
        name=source.name,
        title=source.title,
        source=_shown(source.path, plan.start),
        source_sha256=source.sha256,
        kernel=source.kernel,
        parameters=plan.parameters[source.name],
        status=status,
        started=started,
        seconds=_since(began),
        cells_run=outcome.cells_run,
        cells=outcome.cells,
        output=f"executed/{output.name}" if data is not None else None,
        output_sha256=hashlib.sha256(data).hexdigest() if data is not None else None,
        content_sha256=content_digest(data, plan.directory) if data is not None else None,
        reported=reported,
        results=names,
        failure=outcome.failure,
        left_behind=left,
        host_cells=host_cells(data) if data is not None and source.kernel == KERNEL_NAME else (),
    )
    return chapter, versions


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
        outcome = _read_json(folder / "outcome.json")
        if outcome is not None:
            return Execution.from_dict(outcome), left
    if done.timed_out and deadline is not None:
        stopped = ("DeadlineExceeded", f"The notebook took longer than {deadline:g} s.")
        if _read_json(output) is not None:
            return judge(job, stopped), left
        return Execution(0, 0, CellFailure(None, None, "", *stopped)), left
    if shutil.disk_usage(scratch).free < _LEAST_SPACE:
        raise StorageError(f"The disk that holds {scratch} is full.", "Free some space, and run again.")
    with open_log(log) as more:
        more.write(done.stderr)
    stopped = ("ProcessEnded", _how_it_ended(done))
    if _read_json(output) is not None:
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
    notebook = _read_json(output)
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


def _read_json(path: Path) -> dict[str, Any] | None:
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
    short = next((place for place in places if len(os.fsencode(place)) <= _LONGEST_FOLDER), places[-1])
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


def host_cells(data: bytes) -> tuple[int, ...]:
    """Places (from 0) of the cells of an executed notebook for the TDVM that ran on the host instead."""
    found = []
    for place, cell in enumerate(json.loads(data)["cells"]):
        source = cell.get("source", "")
        text = "".join(source) if isinstance(source, list) else str(source)
        refused = any(str(output.get("evalue", "")).startswith(REFUSAL) for output in cell.get("outputs", ()))
        ran = cell.get("cell_type") == "code" and cell.get("execution_count") is not None
        if ran and not refused and text.lstrip("\n").startswith("%%host"):
            found.append(place)
    return tuple(found)


def content_digest(data: bytes, directory: Path) -> str:
    """SHA-256 of an executed notebook's cells without times, process ids and the run directory's name."""
    cells = json.loads(data)["cells"]
    for cell in cells:
        cell["metadata"] = {"tags": cell["metadata"].get("tags", [])}
    text = json.dumps(cells, sort_keys=True)
    return hashlib.sha256(text.replace(str(directory), "RUN_DIR").encode()).hexdigest()


def check_kernels(sources: Sequence[NotebookSource]) -> None:
    """Refuse notebooks whose kernel is not installed.

    Raises:
        MissingComponent: which notebook wants which kernel.
    """
    from jupyter_client.kernelspec import KernelSpecManager

    known = KernelSpecManager().find_kernel_specs()
    for source in sources:
        if source.kernel not in known:
            raise MissingComponent(
                f"{source.name} wants the Jupyter kernel {source.kernel}, which is not installed.",
                f"Run `labkit kernel install`. {near(source.kernel, known)}",
            )


def _directory(output: Path | None, start: Path, now: datetime) -> Path:
    if output is not None:
        directory = (start / output.expanduser()).absolute()
        if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
            raise UsageError(f"{directory} is there and not empty.", "Name a new directory for the run.")
        return directory
    base = (repository(start) or start) / "runs"
    name = now.strftime("%Y%m%dT%H%M%SZ")
    names = [name, *(f"{name}-{count}" for count in range(2, 100))]
    return next(base / name for name in names if not (base / name).exists())


def _ended(chapter: Chapter) -> str:
    text = f"{chapter.status}, {chapter.seconds:.1f} s"
    if chapter.failure is not None:
        text += f"\n      {chapter.failure}"
    if chapter.left_behind:
        text += f"\n      ended what it left running: {', '.join(chapter.left_behind)}"
    return re.sub(r"\s*\n\s*", "\n      ", text) + "\n"


def _shown(path: Path, start: Path) -> str:
    """A path as the record shows it: relative to the repository or the start where it lies there."""
    base = repository(start) or start
    return str(path.relative_to(base) if path.is_relative_to(base) else path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
