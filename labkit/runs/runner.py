"""Runs notebooks, each in a fresh process, into a run directory with its record."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labkit.errors import MissingComponent, StorageError, UsageError
from labkit.files import from_home
from labkit.kernel.host import REFUSAL
from labkit.kernel.installing import NAME as KERNEL_NAME
from labkit.learn.copies import course_folder
from labkit.runs._guests import GUEST, for_guest
from labkit.runs.collecting import collect_git, collect_host, collect_tools, collect_versions
from labkit.runs.guarded import execute_guarded, read_json
from labkit.runs.parameters import RUN_DIR, assign
from labkit.runs.record import (
    Chapter,
    Run,
    finish,
    read_results,
    result_files,
    write_record,
)
from labkit.runs.source import NotebookSource, find_notebooks, load_source, near, repository
from labkit.settings import Settings, check_seconds
from labkit.vm.memory import free_memory
from labkit.vm.rundir import running

CELL_TIMEOUT = 600.0
"""Seconds that a cell may take, unless the caller says otherwise."""

_CHAPTER_MEMORY = 2048  # MiB: a chapter's process and the TDVMs that it boots


@dataclass(frozen=True)
class RunPlan:
    """Everything about a run that is known, and has been checked, before anything runs.

    left_out: names of notebooks that were asked for, and that do not take the guest of the run.
    jobs: how many notebooks run at a time.
    """

    sources: tuple[NotebookSource, ...]
    parameters: dict[str, dict[str, Any]]
    directory: Path
    timeout: float
    start: Path
    allow_host: bool = False
    left_out: tuple[str, ...] = ()
    jobs: int = 1

    def folder(self, name: str) -> Path:
        """Where a notebook leaves its results: with the others', or by itself where others run beside it."""
        return _folder(self.directory, self.jobs, name)


def plan_run(
    notebooks: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
    *,
    output: Path | None = None,
    timeout: float = CELL_TIMEOUT,
    start: Path | None = None,
    now: datetime | None = None,
    allow_host: bool = False,
    jobs: int | None = None,
) -> RunPlan:
    """Check a request to run notebooks; writes nothing.

    notebooks: paths or chapter names; none means the guided chapters in order.
    parameters: each goes to the notebooks that have it; text is parsed as ``-p`` does. With a ``guest`` other
    than Linux, notebooks without that parameter are left out.
    output: the run directory, which must be new or empty; ``runs/<UTC time>`` by default.
    timeout: seconds a cell may take. start: the folder that paths are relative to. allow_host: cells of a
    notebook for the TDVM may run on the host (``%%host``); otherwise only those of labkit's own notebooks.
    jobs: notebooks at a time; by default one more of the course's chapters than there are processors, as far
    as memory holds them, and one of other notebooks, which may need what the one before left.

    Raises:
        UsageError: a notebook is missing, a parameter unknown, the directory in use.
        DataError: a file is not a valid notebook.
        MissingComponent: a notebook's kernel is not installed, or that of the guest is not in the cache.
    """
    here = (start or Path.cwd()).resolve()
    check_seconds(timeout)
    found = [load_source(path) for path in find_notebooks(notebooks, here)]
    sources, left_out = for_guest(found, (parameters or {}).get(GUEST))
    check_kernels(sources)
    directory = _directory(output, here, now or datetime.now(UTC))
    jobs = min(jobs or _fitting(sources), len(sources))
    values = assign(sources, parameters or {}, directory)
    for name, given in values.items():
        if RUN_DIR in given:
            given[RUN_DIR] = str(_folder(directory, jobs, name))
    return RunPlan(sources, values, directory, timeout, here, allow_host, left_out, jobs)


def _folder(directory: Path, jobs: int, name: str) -> Path:
    return directory / "results" / name if jobs > 1 else directory


def _fitting(sources: Sequence[NotebookSource]) -> int:
    """How many of these notebooks run at a time where nobody says it."""
    chapters = {path.stem for path in course_folder().glob("*.ipynb")}
    if not chapters.issuperset(source.name for source in sources):
        return 1
    fits = free_memory(running(Settings.load())) // _CHAPTER_MEMORY
    # One more than processors: a chapter waits a quarter of its time.
    return max(1, min(len(os.sched_getaffinity(0)) + 1, fits))


def run_plan(plan: RunPlan, on_progress: Callable[[str], None] = lambda _text: None) -> Run:
    """Run every notebook of a plan, also after one has failed, and keep the record up to date.

    A failed chapter keeps its partial notebook. On Ctrl-C the processes of chapters, their kernels and what
    they started are ended, the record says ``interrupted``, and KeyboardInterrupt goes on.
    ``on_progress`` gets pieces of progress text, from several threads: the start of a chapter's line, then
    its end; where several chapters run at a time each is a line of its own.
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
        jobs=plan.jobs,
    )
    write_record(run)
    if plan.left_out:
        guest = plan.parameters[plan.sources[0].name][GUEST]
        on_progress(f"left out, since they take no guest ({guest}): {', '.join(plan.left_out)}\n")
    cancelled = threading.Event()
    with ThreadPoolExecutor(plan.jobs) as pool:
        chapters = [
            pool.submit(_run_chapter, plan, number, cancelled, on_progress)
            for number in range(len(plan.sources))
        ]
        try:
            for future in as_completed(chapters):
                future.result()
                write_record(_with(run, chapters))
        except BaseException as error:
            cancelled.set()
            pool.shutdown(cancel_futures=True)
            if isinstance(error, KeyboardInterrupt):
                write_record(finish(_with(run, chapters), "interrupted", _now(), _since(began)))
            raise
    run = _with(run, chapters)
    # At the end: a chapter may have been what set the platform up.
    tools = collect_tools(Settings.load())
    run = replace(run, versions={**run.versions, **{k: v for k, v in tools.items() if k not in run.versions}})
    run = finish(run, "failed" if run.failed else "passed", _now(), _since(began))
    write_record(run)
    return run


_Done = tuple[Chapter, dict[str, str]]


def _with(run: Run, chapters: Sequence[Future[_Done]]) -> Run:
    """The run with the chapters that have ended, in their order, and the versions that they reported."""
    ended = [
        future.result()
        for future in chapters
        if future.done() and not future.cancelled() and not future.exception()
    ]
    versions = dict(run.versions)
    for _, reported in ended:
        versions = {**reported, **versions}
    return replace(run, chapters=tuple(chapter for chapter, _ in ended), versions=versions)


def _run_chapter(
    plan: RunPlan, number: int, cancelled: threading.Event, on_progress: Callable[[str], None]
) -> _Done:
    source = plan.sources[number]
    line = f"[{number + 1}/{len(plan.sources)}] {source.name} "
    on_progress(f"{line}..." + (" " if plan.jobs == 1 else "\n"))
    if plan.jobs == 1:
        line = ""
    try:
        chapter, versions = _chapter(plan, source, cancelled)
    except StorageError:
        on_progress(f"{line}stopped\n")
        raise
    on_progress(line + _ended(chapter))
    return chapter, versions


def _chapter(plan: RunPlan, source: NotebookSource, cancelled: threading.Event) -> _Done:
    place = plan.folder(source.name)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    below = str(place.relative_to(plan.directory))
    before = result_files(plan.directory, below)
    output = plan.directory / "executed" / f"{source.name}.ipynb"
    started, began = _now(), time.monotonic()
    outcome, left = execute_guarded(
        source,
        plan.parameters[source.name],
        output,
        log=plan.directory / "logs" / f"{source.name}.log",
        scratch=place,
        timeout=plan.timeout,
        allow_host=plan.allow_host,
        cancelled=cancelled,
    )
    status = "interrupted" if cancelled.is_set() else "passed" if outcome.failure is None else "failed"
    files = result_files(plan.directory, below)
    names = tuple(name for name, state in files.items() if before.get(name) != state)
    if place != plan.directory and not any(place.iterdir()):
        place.rmdir()
    reported, versions = read_results(plan.directory, names)
    data = output.read_bytes() if read_json(output) is not None else None
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
        content_sha256=content_digest(data, place) if data is not None else None,
        reported=reported,
        results=names,
        failure=outcome.failure,
        left_behind=left,
        host_cells=host_cells(data) if data is not None and source.kernel == KERNEL_NAME else (),
    )
    return chapter, versions


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
        directory = (start / from_home(output)).absolute()
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
