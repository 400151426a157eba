"""What keeps one row of a sweep from running is said of that row, in words of ours; the others go on."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import StorageError
from labkit.studies import SweepOptions, plan, sweep
from labkit.studies.row import RowTask
from labkit.studies.workers import Worker


class News:
    """What a pool tells of a row."""

    lost = False

    def __init__(self, row: int, entry: dict[str, Any] | None, error: BaseException | bytes | None) -> None:
        self.row, self.entry = row, entry
        self.error = None if isinstance(error, bytes) else error
        self.archive = error if isinstance(error, bytes) else None


class Workers:
    """A pool of one worker; a row comes to the error or the archive that ``outcome`` gives for its number."""

    connected = True

    def __init__(self, outcome: Callable[[int], BaseException | bytes | None]) -> None:
        self.workers = {"here": Worker("here", "node1", "m1", 1, 4096, shared=True)}
        self._outcome = outcome
        self._news: deque[News] = deque()

    def refresh(self) -> None:
        pass

    def abort(self) -> None:
        pass

    def forget(self, row: int) -> None:
        pass

    def submit(self, row: int, task: RowTask, worker: str) -> None:
        error = self._outcome(row)
        fails = isinstance(error, BaseException)
        entry = {"key": task.key, "status": "passed", "recorded": {}, "parameters": task.parameters}
        self._news.append(News(row, None if fails else entry, error))

    def news(self, timeout: float) -> News | None:
        return self._news.popleft() if self._news else None


FULL = StorageError("The disk that holds /x on node1 is full.", "Free some.")
REFUSED = PermissionError(13, "Permission denied", "/x")
FAULTS: dict[str, tuple[Exception | bytes, str, str]] = {
    "a full disk": (FULL, "DiskFull", "is full"),
    "a missing package": (
        ModuleNotFoundError("No module named 'x'", name="x"),
        "WorkerLost",
        "the package x",
    ),
    "memory": (MemoryError(), "WorkerLost", "not enough memory"),
    "a refusal": (REFUSED, "WorkerLost", "refused /x: Permission denied"),
    "a damaged archive": (b"\x1f\x8b\x08 cut", "WorkerLost", "sent a damaged row"),
    "anything else": (RuntimeError("it broke"), "WorkerLost", "could not run it (it broke)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_row_that_cannot_run_is_said_and_the_others_go_on(
    fault: str, notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error, reason, words = FAULTS[fault]
    design, folder = plan(str(notebook), None, [("size", "1,2,3")], tmp_path / "out")
    ill = design.rows[1].number

    @contextlib.contextmanager
    def pool(*_: object) -> Iterator[Workers]:
        yield Workers(lambda row: error if row == ill else None)

    monkeypatch.setattr("labkit.studies._sweep._pool", pool)
    said: list[str] = []
    results = sweep(design, folder, SweepOptions(jobs=1), said.append)
    assert [results.entries[row.number]["status"] for row in design.rows] == ["passed", "failed", "passed"]
    failed = results.entries[ill]
    assert failed["reason"] == reason
    assert words in failed["failure"]["evalue"]
    assert type(error).__name__ not in failed["failure"]["evalue"]
    assert any(words in line for line in said)
    assert not (folder / "rows" / design.rows[1].key / "row.json").exists()
