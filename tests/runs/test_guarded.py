"""What becomes of a notebook whose process ends in one way or another; the process is played."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labkit.errors import StorageError
from labkit.kernel.host import ALLOW
from labkit.process import Completed, scratch_folder
from labkit.runs.execution import CellFailure, Execution
from labkit.runs.guarded import complete, execute_guarded
from labkit.runs.source import load_source
from tests.runs.notebooks import code, markdown, write_notebook


class Played:
    """Two cells whose process is played: what it leaves, how it ends, and what it was given."""

    def __init__(self, folder: Path) -> None:
        self.source = load_source(write_notebook(folder / "a.ipynb", code("first"), code("second")))
        self.folder, self.output, self.log = folder, folder / "out.ipynb", folder / "log"
        self.done = Completed((), 0, b"[]", b"")
        self.outcome: Execution | None = None
        self.given: dict[str, Any] = {}
        self.sockets_were_there = False

    def run(self, argv: Sequence[str | Path], **how: Any) -> Completed:
        """Stands for ``labkit.process.run``."""
        self.given = how
        job = json.loads(Path(argv[-1]).read_text())
        if self.outcome is not None:
            Path(job["outcome"]).write_text(json.dumps(self.outcome.to_dict()))
        self.sockets_were_there = Path(how["env"]["JUPYTER_RUNTIME_DIR"]).parent.is_dir()
        return self.done

    def save(self, *states: str, error: bool = False) -> None:
        """The notebook as papermill leaves it, with the state of each cell."""
        cells = []
        for text, state in zip(("first", "second"), states, strict=False):
            begun = "2026-01-02" if state != "pending" else None
            cells.append(code(text) | {"metadata": {"papermill": {"status": state, "start_time": begun}}})
        if error:
            cells[-1]["outputs"] = [
                {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}
            ]
        write_notebook(self.output, markdown("# A"), *cells)

    def execute(self, **how: Any) -> tuple[Execution, tuple[str, ...]]:
        how = {"scratch": self.folder, "timeout": 10.0, **how}
        return execute_guarded(self.source, {}, self.output, log=self.log, **how)


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    played = Played(tmp_path)
    monkeypatch.setattr("labkit.process.run", played.run)
    return played


KILLED = "The process that ran the notebook was killed; a system that is short of memory does that."


def nothing_ran(ename: str, evalue: str) -> Execution:
    return Execution(0, 0, CellFailure(None, None, "", ename, evalue))


def test_what_the_process_says_counts_and_what_it_left_is_named(played: Played) -> None:
    played.outcome = Execution(2, 2, None)
    played.done = Completed((), 0, b'["sleep"]', b"", timed_out=True)
    cancelled = threading.Event()
    cancelled.set()
    assert played.execute(cancelled=cancelled, deadline=1.0) == (played.outcome, ("sleep",))
    played.done = Completed((), 0, b"", b"")
    assert played.execute() == (played.outcome, ())


def test_each_cell_has_its_time_and_the_whole_notebook_no_more_than_its_deadline(played: Played) -> None:
    played.outcome = Execution(2, 2, None)
    for more, least, most in (
        ({}, 2 * 10.0 + 180, 300.0),
        ({"deadline": 5.0}, 5.0, 5.0),
        ({"deadline": 1e9}, 2 * 10.0 + 180, 300.0),
        ({"timeout": 1e9}, 86400.0, 2**31 / 1000),
    ):
        played.execute(**more)
        assert least <= played.given["timeout"] <= most


def test_a_notebook_that_was_cancelled_came_to_nothing(played: Played) -> None:
    played.done = Completed((), -9, b'["sleep"]', b"", timed_out=True)
    cancelled = threading.Event()
    assert played.execute(cancelled=cancelled)[0].failure is not None
    cancelled.set()
    assert played.execute(cancelled=cancelled, deadline=1.0) == (Execution(0, 0, None), ())


def test_a_notebook_past_its_deadline_is_told_by_its_cell_where_one_had_begun(played: Played) -> None:
    late = ("DeadlineExceeded", "The notebook took longer than 1.5 s.")
    played.done = Completed((), -9, b'["sleep"]', b"", timed_out=True)
    assert played.execute(deadline=1.5) == (nothing_ran(*late), ("sleep",))
    played.save("completed", "running")
    outcome, left = played.execute(deadline=1.5)
    assert (outcome, left) == (Execution(1, 2, CellFailure(3, "cell-3", "second", *late)), ("sleep",))
    outcome, _ = played.execute()
    assert outcome.failure is not None
    assert outcome.failure.ename == "ProcessEnded"


@pytest.mark.parametrize(
    ("status", "stderr", "said"),
    [
        (
            -9,
            b"",
            KILLED,
        ),
        (
            137,
            b"x",
            KILLED,
        ),
        (-15, b"", "The process that ran the notebook was ended by SIGTERM."),
        (129, b"", "The process that ran the notebook was ended by SIGHUP."),
        (128, b"", "The process that ran the notebook ended with status 128."),
        (255, b"", "The process that ran the notebook ended with status 255."),
        (
            1,
            b"Traceback:\n\x1b[31mMemoryError\x1b[0m\n\n",
            "The process that ran the notebook ended with status 1. Its last words: MemoryError",
        ),
    ],
)
def test_a_process_that_left_no_outcome_is_told_by_its_end(
    status: int, stderr: bytes, said: str, played: Played
) -> None:
    played.done = Completed((), status, b'["sleep"]', stderr)
    played.log.write_bytes(b"before\n")
    assert played.execute() == (nothing_ran("ProcessEnded", said), ("sleep",))
    assert played.log.read_bytes() == b"before\n" + stderr
    played.save("completed", "running")
    outcome, left = played.execute()
    assert outcome == Execution(1, 2, CellFailure(3, "cell-3", "second", "ProcessEnded", said))
    assert left == ("sleep",)


def test_a_full_disk_is_told_as_such(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: SimpleNamespace(free=100))
    played.done = Completed((), 1, b"", b"No space left on device")
    with pytest.raises(StorageError, match="is full"):
        played.execute()
    played.outcome = Execution(2, 2, None)
    assert played.execute()[0] == played.outcome


def test_a_notebook_counts_without_its_process_only_where_every_cell_ran(played: Played) -> None:
    assert complete(played.source, played.output) is None
    for text in ("", '{"cells": [', "[]", "{}"):
        played.output.write_text(text)
        assert complete(played.source, played.output) is None
    played.save()
    assert complete(played.source, played.output) is None
    for states in (("completed", "running"), ("completed", "pending"), ("failed", "completed")):
        played.save(*states)
        assert complete(played.source, played.output) is None
    played.save("completed", "completed", error=True)
    assert complete(played.source, played.output) is None
    played.save("completed", "completed")
    assert complete(played.source, played.output) == Execution(2, 2, None)


def test_a_notebook_has_an_environment_of_its_own(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOW, raising=False)
    monkeypatch.setenv("LABKIT_OF_THE_TEST", "inherited")
    for allowed in (False, True):
        played.execute(allow_host=allowed)
        given = played.given["env"]
        assert (ALLOW in given) is allowed
        assert (given["LABKIT_OF_THE_TEST"], given["LABKIT_UI"]) == ("inherited", "static")
        assert given["LABKIT_RUN_DIR"] == str(played.folder)
        assert Path(given["IPYTHONDIR"]).parent.parent == played.folder


def test_the_sockets_have_a_path_that_is_short_enough(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = played.folder / (80 * "x")
    long.mkdir()
    with scratch_folder("labkit-", Path("/tmp")) as short:
        for scratch, temporary, where in (
            (short, long, short),
            (long, short, short),
            (long, long, Path("/tmp")),
        ):
            monkeypatch.setattr(tempfile, "tempdir", str(temporary))
            played.execute(scratch=scratch)
            sockets = Path(played.given["env"]["JUPYTER_RUNTIME_DIR"])
            assert where in sockets.parents
            assert played.sockets_were_there
            # What the kernel manager puts below it, and the zero at the end (unix(7)).
            assert len(os.fsencode(sockets)) + len("/k-12345678/s-1") < 107
            assert not sockets.exists()
    assert list(long.iterdir()) == []
