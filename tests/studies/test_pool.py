"""What a sweep knows of its workers, from a client that is played."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from labkit.studies._pool import Pool
from labkit.studies.probe import describe, probe


class Client:
    """One worker, and what Dask's client remembers between two questions: that there are none."""

    status = "running"

    def __init__(self) -> None:
        self.scheduler = self

    def identity(self, n_workers: int) -> dict[str, Any]:
        return {"workers": {"tcp://1": {"nthreads": 1}} if n_workers else {}}

    def scheduler_info(self) -> dict[str, Any]:
        return {"workers": {}}

    def sync(self, function: Callable[..., Any], **words: Any) -> Any:
        return function(**words)

    def get_versions(self) -> dict[str, Any]:
        return {"workers": {}}

    def run(self, function: Callable[..., Any], *words: Any, workers: list[str], **_: Any) -> dict[str, Any]:
        answer = describe_nothing() if function is describe else probe(*words)
        return dict.fromkeys(workers, answer)

    def close(self, timeout: float) -> None:
        self.status = "closed"


def describe_nothing() -> dict[str, str]:
    return {"platform": "", "trust": "", "why": ""}


def test_a_worker_that_is_there_is_not_forgotten(tmp_path: Path) -> None:
    with Pool("python3", tmp_path, "study", Client) as pool:
        pool.refresh()
        assert list(pool.workers) == ["tcp://1"]
