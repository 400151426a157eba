"""The workers of a sweep, by way of dask.distributed: a cluster on this machine, or one that exists.

Dask brings the processes, the wire and the news of who came and went. Which row goes where is decided
here, not by Dask's scheduler: a row must not reach a worker that was not asked yet, or that came back
under the same address.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labkit.errors import LabkitError
from labkit.studies import probe
from labkit.studies.cluster import connect, local_cluster
from labkit.studies.row import RowTask, abort, run_row
from labkit.studies.workers import Worker, judge

PATIENCE = 120.0
"""Seconds that a scheduler may be gone, or be without any fit worker, before the sweep gives up."""

_CONNECT = 15.0
_ANSWER = 30.0


@dataclass(frozen=True)
class Ended:
    """News of a row: what it came to, or why to nothing (``lost``: worker or scheduler went away)."""

    row: int
    entry: dict[str, Any] | None = None
    archive: bytes | None = None
    error: BaseException | None = None
    lost: bool = False


class Pool:
    """Workers that run rows. Use it as a context manager: a cluster of its own ends with it."""

    def __init__(self, kernel: str, folder: Path, study: str, connect: Callable[[], Any]) -> None:
        """``connect`` gives a new dask client; ``folder`` is the sweep's, ``study`` its name."""
        import cloudpickle

        cloudpickle.register_pickle_by_value(probe)
        self._kernel = kernel
        self._study = study
        self._connect = connect
        self._secret = uuid.uuid4().hex
        self._token = folder / f".shared-{self._secret}"
        self._token.write_text(self._secret)
        self._news: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._futures: dict[int, Any] = {}
        self._epoch = 0
        self._client: Any = None
        self.workers: dict[str, Worker] = {}

    def __enter__(self) -> Pool:
        self._client = self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        self._token.unlink(missing_ok=True)
        self._drop()

    @property
    def connected(self) -> bool:
        """The scheduler answers, as far as one knows."""
        return self._client is not None and self._client.status == "running"

    def reconnect(self) -> bool:
        """Try to reach the scheduler again; whether it answered. Every row under way is lost."""
        self._drop()
        with contextlib.suppress(OSError, LabkitError):
            self._client = self._connect()
        return self.connected

    def refresh(self) -> None:
        """Learn who is there: newcomers are asked what they can do, and who left is forgotten."""
        try:
            # Not `scheduler_info`: the client's own look in the background, which asks for no workers, may
            # come between its question and its answer, and then nobody would be there.
            present = self._client.sync(self._client.scheduler.identity, n_workers=-1)["workers"]
        except (AttributeError, KeyError, OSError, RuntimeError, TimeoutError):
            present = {}
        self.workers = {address: worker for address, worker in self.workers.items() if address in present}
        new = [address for address in present if address not in self.workers]
        if not new:
            return
        strangers = self._other_pythons(new)
        answers = self._ask(
            probe.probe,
            [address for address in new if address not in strangers],
            str(self._token),
            self._secret,
        )
        for address, words in strangers.items():
            self.workers[address] = Worker(address, address, address, 0, 0, False, unfit=words)
        for address, answer in answers.items():
            threads = int(present[address]["nthreads"])
            if isinstance(answer, dict):
                self.workers[address] = judge(address, threads, answer, self._kernel)
            elif not isinstance(answer, OSError):
                words = f"it does not answer as a worker should ({type(answer).__name__}: {answer})"
                self.workers[address] = Worker(address, address, address, threads, 0, False, unfit=words)
        fit = [address for address in answers if address in self.workers and not self.workers[address].unfit]
        for address, answer in self._ask(probe.describe, fit).items():
            if isinstance(answer, dict) and answer["platform"]:
                words = f"{answer['platform']}, trust {answer['trust']}"
                self.workers[address] = replace(self.workers[address], platform=words)

    def _other_pythons(self, addresses: list[str]) -> dict[str, str]:
        """Workers of another Python, to which no code can be sent."""
        try:
            known = self._client.get_versions()["workers"]
        except (OSError, RuntimeError, KeyError, TimeoutError):
            return {}
        mine, found = sys.version_info[:2], {}
        for address in addresses:
            theirs = str((known.get(address) or {}).get("host", {}).get("python", ""))
            if theirs and theirs.split(".")[:2] != [str(part) for part in mine]:
                found[address] = f"it has Python {theirs}, and this is {mine[0]}.{mine[1]}"
        return found

    def _ask(self, function: Callable[..., Any], addresses: list[str], *arguments: object) -> dict[str, Any]:
        if not addresses:
            return {}
        try:
            found: dict[str, Any] = self._client.run(
                function, *arguments, workers=addresses, on_error="return"
            )
        except (OSError, RuntimeError, TimeoutError):
            return {}
        return found

    def submit(self, row: int, task: RowTask, worker: str) -> None:
        """Have a worker run a row; its end is told by ``news``."""
        epoch = self._epoch
        future: Any = self._client.submit(
            run_row,
            task,
            key=f"labkit-row-{task.key}-{uuid.uuid4().hex[:8]}",
            workers=[worker],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )
        self._futures[row] = future
        future.add_done_callback(lambda done: self._tell(row, done, epoch))

    def _tell(self, row: int, future: Any, epoch: int) -> None:
        """Called by dask's own thread when a row ended, one way or another."""
        expected: Any = self._futures.get(row)
        if epoch != self._epoch or expected is not future:
            return
        try:
            if future.status == "finished":
                entry, archive = future.result(timeout=_ANSWER)
                self._news.put(Ended(row, entry, archive))
            elif future.status == "error":
                error = future.exception(timeout=_ANSWER)
                lost = type(error).__name__ in ("KilledWorker", "CommClosedError", "FutureCancelledError")
                self._news.put(Ended(row, error=error, lost=lost))
            else:
                self._news.put(Ended(row, lost=True))
        except Exception as error:
            # The connection went between the end of the row and its result.
            self._news.put(Ended(row, error=error, lost=True))

    def forget(self, row: int) -> None:
        """Expect nothing more of a row."""
        future = self._futures.pop(row, None)
        if future is not None and self.connected:
            with contextlib.suppress(Exception):
                future.cancel(force=True)

    def news(self, timeout: float) -> Ended | None:
        """The next row that ended, if one does within ``timeout`` seconds."""
        try:
            return self._news.get(timeout=timeout)
        except queue.Empty:
            return None

    def abort(self) -> None:
        """End the rows that are under way, where they are."""
        self._ask(abort, list(self.workers), self._study)

    def _drop(self) -> None:
        self._epoch += 1
        self._futures.clear()
        self.workers = {}
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                client.close(timeout=2)


def workers_at(address: str) -> contextlib.AbstractContextManager[Callable[[], Any]]:
    """The workers of a cluster that exists, and how to reach them."""
    return contextlib.nullcontext(lambda: connect(address, _CONNECT))


@contextlib.contextmanager
def own_workers(count: int) -> Iterator[Callable[[], Any]]:
    """``count`` workers on this machine, and how to reach them."""
    with local_cluster(count, ["labkit.studies.row", "labkit.studies._preload"]) as cluster:
        from distributed import Client

        yield lambda: Client(cluster, timeout=_CONNECT)
