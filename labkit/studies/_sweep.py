"""Runs a design on workers and keeps what came out in one folder; resumable at any point."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit.errors import DataError, LabkitError, MissingComponent, StorageError
from labkit.runs.runner import CELL_TIMEOUT
from labkit.settings import Settings, check_seconds
from labkit.show import one_line
from labkit.studies._pool import PATIENCE, Ended, Pool, own_workers, workers_at
from labkit.studies.folder import check_folder, claim, locked, naming_full_disk
from labkit.studies.results import Results, write_tables
from labkit.studies.row import ROWS, RowAborted, RowTask, read_entry, unpack, write_entry
from labkit.studies.table import Design, SweepRow
from labkit.studies.workers import NOTEBOOK_MEMORY, Worker, assign, rows_that_fit
from labkit.vm.memory import LINUX_MEMORY, free_memory
from labkit.vm.rundir import running

ROW_DEADLINE = 3600.0
"""Seconds that a row may take, unless the caller says otherwise."""

_MOST_LOST = 10
_MOST_ERRORS = 3
_POLL = 0.5
_LOOK_AGAIN = 2.0


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep is run.

    jobs: worker processes on this machine; scheduler: the address of a cluster that exists, instead.
    timeout: seconds a cell may take. deadline: seconds a row may take. memory: MiB that a row's TDVMs need;
    None takes the row's parameter ``memory``. retry: run rows again that failed earlier.
    patience: seconds that a scheduler may be gone.
    """

    jobs: int | None = None
    scheduler: str | None = None
    timeout: float = CELL_TIMEOUT
    deadline: float = ROW_DEADLINE
    memory: int | None = None
    retry: bool = False
    patience: float = PATIENCE


def sweep(
    design: Design,
    output: Path,
    options: SweepOptions,
    on_progress: Callable[[str], None] = lambda text: None,
    watch: Callable[[Results], None] = lambda results: None,
) -> Results:
    """Run every row of ``design`` that is not done in ``output`` yet, and write the tables.

    ``on_progress`` gets lines of progress; ``watch`` the results so far, after each row.
    A second sweep on the same folder waits for the first, and goes on where that one ends.

    Raises:
        UsageError: the folder holds something else.
        MissingComponent: no scheduler answers, or no worker is fit.
        StorageError: a disk is full.
    """
    for seconds in (options.timeout, options.deadline):
        check_seconds(seconds)
    output = output.absolute()
    check_folder(output, design)
    with naming_full_disk(output), locked(output, on_progress):
        claim(output, design)
        state = _State(design, output, options, on_progress, watch)
        state.load()
        if state.waiting:
            with _pool(state, options) as pool:
                try:
                    _drive(state, pool)
                except BaseException:
                    pool.abort()
                    raise
                finally:
                    state.write()
        return state.write()


def _pool(state: _State, options: SweepOptions) -> contextlib.AbstractContextManager[Pool]:
    @contextlib.contextmanager
    def opened() -> Iterator[Pool]:
        cluster = (
            workers_at(options.scheduler)
            if options.scheduler
            else own_workers(min(options.jobs or state.default_jobs(), len(state.waiting)))
        )
        with cluster as connect, Pool(state.design.source.kernel, state.output, state.name, connect) as pool:
            yield pool

    return opened()


@dataclass
class _State:
    """What is known of the rows while a sweep runs."""

    design: Design
    output: Path
    options: SweepOptions
    on_progress: Callable[[str], None]
    watch: Callable[[Results], None]
    entries: dict[int, dict[str, Any]] = field(default_factory=dict)
    waiting: deque[int] = field(default_factory=deque)
    under_way: dict[int, str] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    reused: int = 0

    def __post_init__(self) -> None:
        self.rows: Mapping[int, SweepRow] = {row.number: row for row in self.design.rows}
        self.name = hashlib.sha256(f"{os.fspath(self.output)} {os.uname().nodename}".encode()).hexdigest()[
            :16
        ]
        self.data = self.design.source.path.read_bytes()
        wanted = [int(row.parameters.get("memory") or 0) for row in self.design.rows if _is_memory(row)]
        self.need = (self.options.memory or max(wanted, default=LINUX_MEMORY.default)) + NOTEBOOK_MEMORY

    def load(self) -> None:
        """Take what earlier sweeps on this folder finished."""
        for row in self.design.rows:
            entry = read_entry(self.output / ROWS / row.key)
            if entry is not None and not (self.options.retry and entry["status"] == "failed"):
                self.entries[row.number] = entry
                continue
            if entry is not None:
                (self.output / ROWS / row.key / "row.json").unlink(missing_ok=True)
                (self.output / ROWS / row.key / "notebook.ipynb").unlink(missing_ok=True)
            self.waiting.append(row.number)
        self.reused = len(self.entries)
        if self.reused:
            self.on_progress(
                f"{self.reused} of {len(self.rows)} rows are done already; {len(self.waiting)} are left."
            )

    def default_jobs(self) -> int:
        """As many workers as there are CPUs, and as memory holds."""
        fits = free_memory(running(Settings.load())) // self.need
        return max(1, min(len(os.sched_getaffinity(0)), fits))

    def task(self, row: SweepRow, worker: Worker) -> RowTask:
        return RowTask(
            study=self.name,
            key=row.key,
            notebook=str(self.design.source.path),
            data=self.data,
            parameters=row.parameters,
            wants_run_dir=self.design.wants_run_dir,
            timeout=self.options.timeout,
            deadline=self.options.deadline,
            base=str(self.output) if worker.shared else None,
        )

    def finish(self, number: int, entry: dict[str, Any]) -> None:
        self.entries[number] = entry
        self.under_way.pop(number, None)
        row, done = self.rows[number], len(self.entries)
        seconds = f", {entry['seconds']:.1f} s" if entry.get("seconds") else ""
        failure = entry.get("failure")
        why = f": {failure['ename']}: {failure['evalue']}".rstrip(": ") if failure else ""
        results = self.results()
        eta = f"; {results.eta}" if done < len(self.rows) and results.eta else ""
        self.on_progress(f"[{done}/{len(self.rows)}] {row.label}: {entry['status']}{seconds}{why}{eta}")
        self.watch(results)

    def again(self, number: int, why: str, attempts: int = _MOST_LOST, reason: str = "WorkerLost") -> None:
        """Let a row that came to nothing wait for another worker; after ``attempts`` it counts as failed."""
        self.under_way.pop(number, None)
        self.attempts[number] = self.attempts.get(number, 0) + 1
        row = self.rows[number]
        if self.attempts[number] < attempts:
            self.waiting.appendleft(number)
            self.on_progress(f"{row.label}: {why}; it will be run again.")
            return
        failure = {
            "cell": None,
            "cell_id": None,
            "first_line": "",
            "ename": reason,
            "evalue": f"{attempts} workers did not bring it to an end; the last: {why}",
        }
        # Not written down: the next sweep tries it once more.
        self.finish(
            number,
            {"key": row.key, "status": "failed", "reason": reason, "failure": failure, "recorded": {}},
        )

    def results(self) -> Results:
        return Results(
            self.design, self.output, dict(self.entries), self.reused, time.monotonic() - self.began
        )

    def write(self) -> Results:
        results = self.results()
        write_tables(results)
        return results


def _drive(state: _State, pool: Pool) -> None:
    """Give rows to workers until none is left; people and machines may come and go meanwhile."""
    told: set[str] = set()
    looked, helpless = 0.0, None
    while state.waiting or state.under_way:
        now = time.monotonic()
        if not pool.connected:
            helpless = helpless or now
            _give_up(state, now - helpless, state.options.patience, "The scheduler went away")
            for number in list(state.under_way):
                state.under_way.pop(number)
                state.waiting.appendleft(number)
            state.on_progress("The scheduler does not answer; trying again.")
            if not pool.reconnect():
                time.sleep(1.0)
            looked = 0.0
            continue
        if now - looked > _LOOK_AGAIN:
            pool.refresh()
            looked = now
            _introduce(pool, told, state)
            for number, address in list(state.under_way.items()):
                if address not in pool.workers:
                    pool.forget(number)
                    state.again(number, "its worker went away")
        fit = [worker for worker in pool.workers.values() if not worker.unfit]
        if fit:
            helpless = None
        else:
            helpless = helpless or now
            unfit = "; ".join(f"{worker.node}: {worker.unfit}" for worker in pool.workers.values())
            patience = 10.0 if unfit else state.options.patience
            _give_up(state, now - helpless, patience, f"No worker is fit ({unfit or 'there is none'})")
        for number, address in assign(list(state.waiting), state.under_way, pool.workers, state.need):
            state.waiting.remove(number)
            state.under_way[number] = address
            pool.submit(number, state.task(state.rows[number], pool.workers[address]), address)
        ended = pool.news(_POLL)
        while ended is not None:
            _take(state, pool, ended)
            ended = pool.news(0)


def _take(state: _State, pool: Pool, ended: Ended) -> None:
    if ended.row not in state.under_way:
        return
    row = state.rows[ended.row]
    folder = state.output / ROWS / row.key
    if ended.entry is not None:
        pool.forget(ended.row)
        if ended.archive is not None:
            try:
                unpack(ended.archive, folder)
            except DataError as error:
                state.again(ended.row, _words(error), _MOST_ERRORS)
                return
        entry = read_entry(folder)
        if entry is None:
            folder.mkdir(parents=True, exist_ok=True)
            entry = ended.entry
            write_entry(folder, entry)
        state.finish(ended.row, entry)
    elif ended.lost and not pool.connected:
        pass  # the loop sees that the scheduler is gone
    elif isinstance(ended.error, RowAborted) or ended.lost:
        pool.forget(ended.row)
        state.again(ended.row, "its worker went away")
    else:
        pool.forget(ended.row)
        # A full disk is that of one worker; where it is the sweep's own, writing the tables says so.
        reason = "DiskFull" if isinstance(ended.error, StorageError) else "WorkerLost"
        state.again(ended.row, _words(ended.error), _MOST_ERRORS, reason)


def _words(error: BaseException | None) -> str:
    """Why a row came to nothing, in words of ours."""
    if isinstance(error, LabkitError):
        return error.message.rstrip(".")
    if isinstance(error, ImportError):
        return f"the package {error.name or one_line(str(error), 80)} is missing on its worker"
    if isinstance(error, MemoryError):
        return "its worker has not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return f"its worker's system refused {error.filename or 'a file'}: {error.strerror}"
    return f"its worker could not run it ({one_line(str(error), 120)})"


def _introduce(pool: Pool, told: set[str], state: _State) -> None:
    """Say once of each kind of worker what it is, or why it gets nothing."""
    for worker in pool.workers.values():
        words = (
            f"The worker on {worker.node} gets no row: {worker.unfit}."
            if worker.unfit
            else f"A worker on {worker.node}: {worker.platform or 'no TDVM can boot there'}; "
            f"memory for {rows_that_fit(worker, state.need)} rows."
        )
        if words not in told:
            told.add(words)
            state.on_progress(words)


def _give_up(state: _State, waited: float, patience: float, why: str) -> None:
    if waited > patience:
        raise MissingComponent(
            f"{why}; {len(state.entries)} of {len(state.rows)} rows are done.",
            "Nothing is lost: give the same command again to go on.",
        )


def _is_memory(row: SweepRow) -> bool:
    value = row.parameters.get("memory")
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 24
