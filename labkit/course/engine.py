"""Grade many submissions: one task each on dask.distributed, each result kept as soon as it is there.

A result lies under the hash of what was graded. A grader that is started again does only what is missing, and
nothing is graded twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.course.grading import Graded, GradingJob, grade, grader
from labkit.errors import MissingComponent, StorageError
from labkit.files import write_whole
from labkit.studies.cluster import connect, local_cluster

if TYPE_CHECKING:
    from distributed import Client

_RETRIES = 3
_MODULES = ("labkit.course.exercises", "labkit.course.grading", "labkit.course._evidence")
_PATIENCE = 15.0  # seconds until a scheduler must have answered, and have a worker


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
        MissingComponent: the scheduler does not answer or goes away, or a worker has another labkit.
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
        left.sort(key=lambda job: job.length, reverse=True)
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
    ended = as_completed(futures, loop=client.loop, with_results=True, raise_errors=False)
    for future, result in ended:
        job = futures.pop(future)
        # Not by the future's status: it is `lost` where the worker died just after its result was fetched.
        if isinstance(result, Graded):
            yield job, result
        elif future.status == "error":
            yield job, _failed(job, result[1])
        else:
            raise MissingComponent(
                f"The scheduler went away; {len(futures) + 1} of {len(jobs)} submissions are left to grade.",
                "Nothing is lost: give the same command again to go on.",
            )
        future.release()


def _failed(job: GradingJob, error: BaseException) -> Graded:
    from labkit.course.grading import Prints, known
    from labkit.course.model import mark

    why = f"The grader could not finish it: {type(error).__name__}: {error}"[:300]
    marks = tuple(mark(question, 0, why) for question in known(job.exercise).questions)
    return Graded(job.student, job.exercise, job.key, marks, ("not-graded",), Prints(), (), why)


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Client]:
    if scheduler:
        with connect(scheduler, _PATIENCE) as client:
            _ask_workers(client, scheduler)
            yield client
        return
    with local_cluster(workers, _MODULES) as cluster:
        from distributed import Client

        with Client(cluster, set_as_default=False) as client:
            yield client


def _ask_workers(client: Client, scheduler: str) -> None:
    """Have each worker of a cluster that exists say which labkit it has.

    Raises:
        MissingComponent: there is no worker, or one that would grade otherwise than this labkit.
    """
    with suppress(TimeoutError):
        client.wait_for_workers(1, timeout=_PATIENCE)
    answers = client.run(grader, on_error="return")
    if not answers:
        raise MissingComponent(
            f"The scheduler at {scheduler} has no worker.",
            f"Start one: dask worker {scheduler} --nthreads 1",
        )
    for address, answer in answers.items():
        if answer != grader():
            what = answer if isinstance(answer, str) else f"none that works ({answer})"[:200]
            raise MissingComponent(
                f"The worker at {address} has another labkit: {what}, and this is {grader()}.",
                "Install the same labkit on all workers, then start them again.",
            )
