"""Which worker gets a row, and how many."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from labkit import __version__
from labkit.studies.probe import PACKAGES, probe
from labkit.studies.workers import Worker, assign, judge, rows_that_fit

WORKER = Worker("tcp://a:1", "a", "host-a", 2, 2000, shared=True)


def test_this_process_is_fit_and_shares_the_folder(tmp_path: Any) -> None:
    (tmp_path / "token").write_text("secret")
    answer = probe(str(tmp_path / "token"), "secret")
    worker = judge("tcp://here:1", 1, answer, "python3")
    assert (worker.unfit, worker.shared) == ("", True)
    assert worker.memory > 0
    assert not probe(str(tmp_path / "token"), "other")["shared"]
    assert not probe(str(tmp_path / "absent"), "secret")["shared"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"labkit": None, "broken": "ModuleNotFoundError: no labkit"}, "labkit is not installed"),
        ({"labkit": "0.0.1"}, f"it has labkit 0.0.1, and this is {__version__}"),
        ({"missing": ["papermill"]}, "the package papermill is not installed"),
        ({"broken": "ImportError: x"}, "does not load"),
        ({"kernels": ["python3"]}, "the Jupyter kernel tdvm is not installed"),
    ],
)
def test_an_unfit_worker_says_why(change: dict[str, Any], word: str) -> None:
    good = {
        "node": "n",
        "machine": "m",
        "labkit": __version__,
        "broken": "",
        "missing": [],
        "versions": dict.fromkeys(PACKAGES, "1"),
        "shared": False,
        "memory": 4000,
        "kernels": ["python3", "tdvm"],
    }
    assert judge("a", 1, good, "tdvm").unfit == ""
    assert word in judge("a", 1, {**good, **change}, "tdvm").unfit


def test_rows_go_to_the_idlest_within_threads_and_memory() -> None:
    other = replace(WORKER, address="tcp://b:1", machine="host-b", threads=1)
    workers = {worker.address: worker for worker in (WORKER, other)}
    assert assign([1, 2, 3, 4, 5], {}, workers, 500) == [(1, "tcp://a:1"), (2, "tcp://b:1"), (3, "tcp://a:1")]
    assert assign([5], {1: "tcp://a:1", 2: "tcp://a:1", 3: "tcp://b:1"}, workers, 500) == []


def test_workers_of_one_host_share_its_memory() -> None:
    pair = {f"tcp://a:{n}": replace(WORKER, address=f"tcp://a:{n}") for n in (1, 2)}
    given = assign(range(1, 9), {}, pair, 700)
    assert len(given) == rows_that_fit(WORKER, 700) == 2
    assert len({address for _, address in given}) == 2


def test_one_row_is_always_tried_and_an_unfit_worker_never_is() -> None:
    assert len(assign([1, 2], {}, {WORKER.address: WORKER}, 9000)) == 1
    assert assign([1], {}, {WORKER.address: replace(WORKER, unfit="no")}, 100) == []
