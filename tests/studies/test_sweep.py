"""Whole sweeps on real workers: the table, going on, and what dies meanwhile."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from labkit.cli import labkit
from labkit.errors import DataError, MissingComponent, StorageError, UsageError
from labkit.studies import SweepOptions, plan, publish_sweep, read_sweep, sweep
from tests.workers import everything, workers_of

LABKIT = Path(sys.executable).with_name("labkit")


def _table(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def _results(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_a_sweep_has_a_table_and_a_page_and_goes_on(notebook: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    rows = [{"size": size, "name": f"<b>{size}</b>", "log": str(log)} for size in (1, 7, 3)]
    table = _table(tmp_path / "t.csv", rows)
    arguments = list(
        map(str, [LABKIT, "sweep", notebook, "--over", table, "-j", "2", "--output", tmp_path / "out"])
    )
    done = subprocess.run([*arguments, "--json"], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["rows"], summary["passed"], summary["failed"]) == (3, 2, 1)
    found = _results(tmp_path / "out")
    assert [(row["size"], row["status"], row["reason"], row["square"]) for row in found] == [
        ("1", "passed", "", "1"),
        ("7", "failed", "ValueError", "49"),
        ("3", "passed", "", "9"),
    ]
    before = (tmp_path / "out/results.csv").read_bytes()
    again = CliRunner().invoke(labkit, arguments[1:])
    assert again.exit_code == 1
    assert "3 of 3 rows are done already" in again.stderr
    assert (tmp_path / "out/results.csv").read_bytes() == before
    assert sorted(log.read_text().split()) == ["1", "3"]
    page = (tmp_path / "out/site/index.html").read_text()
    assert "&lt;b&gt;7&lt;/b&gt;" in page
    assert "<b>7" not in page
    assert "<script" not in page
    assert (tmp_path / "out/site/row-0002.html").exists()
    published = CliRunner().invoke(labkit, ["publish", str(tmp_path / "out")])
    assert published.exit_code == 0, published.output
    kept = (tmp_path / "out/site/index.html").read_text()
    assert kept.count("<svg") == page.count("<svg")
    assert kept.partition("</h1>")[2].count("<td") == page.partition("</h1>")[2].count("<td")


def test_a_killed_client_a_killed_worker_and_a_second_sweep_change_nothing(
    notebook: Path, tmp_path: Path
) -> None:
    log, wait = tmp_path / "log", tmp_path / "wait"
    wait.touch()
    rows = [{"size": size, "name": "n", "log": str(log), "wait": str(wait)} for size in (1, 2, 3)]
    table, out = _table(tmp_path / "t.csv", rows), tmp_path / "out"
    arguments = list(map(str, [LABKIT, "sweep", notebook, "--over", table, "-j", "2", "--output", out]))

    def started() -> bool:
        return any("square" in book.read_text() for book in out.glob("rows/*/notebook.ipynb"))

    client = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    _until(started)
    client.kill()
    client.wait()
    _until(lambda: not _processes_of(out, but=client.pid))
    second = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    _until(lambda: bool(workers_of(second.pid)))
    _until(lambda: bool(_guards_of(out)))
    third = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    os.kill(workers_of(second.pid)[0], signal.SIGKILL)
    wait.unlink()
    assert second.communicate(timeout=300)[1]
    assert "waiting" in third.communicate(timeout=300)[1]
    assert (second.returncode, third.returncode) == (0, 0)
    assert [row["status"] for row in _results(out)] == ["passed"] * 3
    assert sorted(log.read_text().split()) == ["1", "2", "3"]
    _until(lambda: not _processes_of(out))


def test_ctrl_c_leaves_nothing(notebook: Path, tmp_path: Path) -> None:
    wait = tmp_path / "wait"
    wait.touch()
    out = tmp_path / "out"
    arguments = list(
        map(str, [LABKIT, "sweep", notebook, "-p", "wait", str(wait), "-j", "1", "--output", out])
    )
    client = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True)
    _until(lambda: bool(_guards_of(out)))
    os.killpg(client.pid, signal.SIGINT)
    said = client.communicate(timeout=120)[1]
    assert client.returncode == 130
    assert "Traceback" not in said
    _until(lambda: not _processes_of(out))


def test_a_scheduler_that_is_not_there_is_one_sentence(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labkit.studies._pool._CONNECT", 1)
    design, folder = plan(str(notebook), None, [("size", "1")], tmp_path / "out")
    with pytest.raises(MissingComponent, match="No Dask scheduler answers"):
        sweep(design, folder, SweepOptions(scheduler="tcp://127.0.0.1:9"))


def test_a_folder_of_something_else_is_left_alone(notebook: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("mine")
    design, folder = plan(str(notebook), None, [("size", "1")], tmp_path / "out")
    with pytest.raises(UsageError, match="holds no sweep"):
        sweep(design, folder, SweepOptions(jobs=1))
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_a_full_disk_is_named(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("labkit.studies._sweep.claim", full)
    design, folder = plan(str(notebook), None, [("size", "1")], tmp_path / "out")
    with pytest.raises(StorageError, match=f"The disk that holds {folder} is full"):
        sweep(design, folder, SweepOptions(jobs=1))


def test_a_folder_with_all_rows_needs_no_worker(notebook: Path, tmp_path: Path) -> None:
    design, folder = plan(str(notebook), None, [("size", "2,7")], tmp_path / "out")
    for row in design.rows:
        place = folder / "rows" / row.key
        place.mkdir(parents=True)
        entry = {"status": "passed", "recorded": {"rtmr1": "a" if row.number == 1 else "b"}, "trust": "none"}
        (place / "row.json").write_text(json.dumps(entry))
    (folder / "sweep.json").write_text('{"format": 1, "notebook": "work"}')
    results = publish_sweep(sweep(design, folder, SweepOptions(scheduler="tcp://127.0.0.1:9")))
    assert results.reused == 2
    assert results.moves() == {"size": {"rtmr1": "moves"}}
    assert "EMULATED" in (folder / "site/index.html").read_text()
    _claim_hardware(folder)
    assert publish_sweep(read_sweep(folder)).moves() == results.moves()
    assert "EMULATED" in (folder / "site/index.html").read_text()
    record = json.loads((folder / "sweep.json").read_text())
    record["rows"][0]["key"] = "../../rows"
    (folder / "sweep.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="not a name of a file below its folder"):
        read_sweep(folder)


def _claim_hardware(folder: Path) -> None:
    for place in (folder / "rows").glob("*/row.json"):
        place.write_text(place.read_text().replace('"none"', '"hardware"'))


def _processes_of(folder: Path, but: int = 0) -> list[int]:
    found = [pid for pid, (_, line) in everything().items() if str(folder) in line]
    return [pid for pid in found if pid not in (but, os.getpid())]


def _guards_of(folder: Path) -> list[int]:
    every = everything().items()
    return [pid for pid, (_, line) in every if "labkit.runs._guard" in line and str(folder) in line]
