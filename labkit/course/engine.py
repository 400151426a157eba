"""Grade many submissions: one task each on dask.distributed, each result kept as soon as it is there.

A result lies under the hash of what was graded. A grader that is started again does only what is missing, and
nothing is graded twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any

from labkit.course.grading import Graded, GradingJob, grade
from labkit.errors import MissingComponent, StorageError
from labkit.files import write_whole
from labkit.process import scratch_folder

if TYPE_CHECKING:
    from distributed import Client

_RETRIES = 3
_PATIENCE = 15  # seconds until a scheduler must have answered
# Behind it stand two names that multiprocessing makes, and a socket's path has at most 107 bytes (unix(7)).
_LONGEST_FOLDER = 70


@dataclass(frozen=True)
class ResultStore:
    """Results on the disk, a file each, whole or not there."""

    folder: Path

    def load(self, job: GradingJob) -> Graded | None:
        """The kept result of a job; a damaged file counts as none."""
        try:
            found = Graded.from_json(self._path(job).read_bytes())
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if found.key == job.key else None

    def save(self, job: GradingJob, result: Graded) -> None:
        """Keep a result.

        Raises:
            StorageError: it cannot be written.
        """
        path = self._path(job)
        try:
            write_whole(path, result.to_json())
        except OSError as error:
            raise StorageError(
                f"The result {path} cannot be written: {error.strerror}.",
                "Free some space, then grade again.",
            ) from error

    def _path(self, job: GradingJob) -> Path:
        return self.folder / f"{job.key}.json"


def grade_jobs(
    jobs: Sequence[GradingJob],
    store: ResultStore,
    workers: int,
    scheduler: str | None = None,
    on_result: Callable[[Graded, bool], None] = lambda _result, _kept: None,
) -> list[Graded]:
    """The results of all jobs, in their order; what is kept already is not graded again.

    on_result is told of each result, and whether it was kept from before. A job that cannot be graded, since
    the worker died of it again and again, comes back with its problem and is tried again next time.

    Raises:
        MissingComponent: the scheduler does not answer.
        StorageError: a result cannot be kept.
    """
    results: dict[str, Graded] = {}
    left: list[GradingJob] = []
    for job in jobs:
        found = store.load(job)
        if found is None:
            left.append(job)
        else:
            results[job.student] = found
            on_result(found, True)
    if left:
        with _client(min(workers, len(left)), scheduler) as client:
            for job, result in _run(client, left):
                if not result.problem:
                    store.save(job, result)
                results[job.student] = result
                on_result(result, False)
    return [results[job.student] for job in jobs]


def _run(client: Client, jobs: Sequence[GradingJob]) -> Iterator[tuple[GradingJob, Graded]]:
    from distributed import as_completed

    futures = {client.submit(grade, job, key=f"grade-{job.key}", retries=_RETRIES): job for job in jobs}
    for future in as_completed(futures, loop=client.loop):
        job = futures.pop(future)
        if future.status == "finished":
            yield job, future.result()
        else:
            yield job, _failed(job, future.exception())
        future.release()


def _failed(job: GradingJob, error: BaseException | None) -> Graded:
    from labkit.course.grading import Prints, known
    from labkit.course.model import mark

    why = f"The grader could not finish it: {type(error).__name__}: {error}"[:300]
    marks = tuple(mark(question, 0, why) for question in known(job.exercise).questions)
    return Graded(job.student, job.exercise, job.key, marks, ("not-graded",), Prints(), (), why)


def _start_method() -> str:
    """How workers start: as forks of one process that imports Dask, where the path of its socket fits."""
    return "forkserver" if len(os.fsencode(gettempdir())) <= _LONGEST_FOLDER else "spawn"


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Any]:
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise MissingComponent("dask.distributed is not installed.", "Run: pip install labkit") from error
    if scheduler:
        try:
            client = Client(scheduler, timeout=_PATIENCE, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise MissingComponent(
                f"No Dask scheduler answers at {scheduler}.",
                "Start one with `dask scheduler`, or leave it out.",
            ) from error
        with client:
            yield client
        return
    with (
        scratch_folder("labkit-grade-") as scratch,
        dask.config.set(
            {
                # A submission's memory is bounded in its sandbox; a worker need not be ended for it.
                "distributed.worker.memory.terminate": False,
                "distributed.worker.multiprocessing-method": _start_method(),
                "temporary-directory": str(scratch),
            }
        ),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            local_directory=str(scratch),
            silence_logs="CRITICAL",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
