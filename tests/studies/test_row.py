"""One row where it runs: finished in one step, never twice, and whole wherever it comes from."""

from __future__ import annotations

import errno
import gzip
import json
import os
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import DataError, LabkitError, StorageError
from labkit.settings import Settings
from labkit.studies.row import NOTEBOOK, RowAborted, RowTask, abort, pack, read_entry, run_row, unpack
from tests.runs.notebooks import code, parameters, write_notebook


def task(notebook: Path, base: Path | None, **values: Any) -> RowTask:
    name = f"{os.getpid()}-{base.name if base else 'private'}"
    text = str(base) if base else None
    return RowTask(name, "k1", str(notebook), notebook.read_bytes(), values, True, 60.0, 120.0, text)


def test_a_row_runs_once_and_says_what_it_recorded(notebook: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    wanted = task(notebook, tmp_path / "study", size=3, log=str(log))
    entry, archive = run_row(wanted)
    assert (entry["status"], entry["recorded"], archive) == ("passed", {"square": 9, "name": ""}, None)
    assert run_row(wanted)[0] == entry
    assert log.read_text() == "3\n"
    # What a killed attempt had finished counts, and what it had not is run again.
    folder = tmp_path / "study/rows/k1"
    (folder / "row.json").unlink()
    assert run_row(wanted)[0]["recorded"]["square"] == 9
    assert log.read_text() == "3\n"
    cut = json.loads((folder / NOTEBOOK).read_text())
    cut["cells"][-1]["metadata"]["papermill"]["status"] = "running"
    (folder / NOTEBOOK).write_text(json.dumps(cut))
    (folder / "row.json").unlink()
    run_row(wanted)
    assert log.read_text() == "3\n3\n"


def test_a_failed_row_names_its_cell(notebook: Path, tmp_path: Path) -> None:
    entry, _ = run_row(task(notebook, tmp_path / "study", size=7))
    assert (entry["status"], entry["reason"], entry["failure"]["evalue"]) == ("failed", "ValueError", "seven")
    assert entry["recorded"]["square"] == 49


def test_a_row_past_its_deadline_fails_and_leaves_nothing(tmp_path: Path) -> None:
    book = write_notebook(
        tmp_path / "hangs.ipynb",
        parameters("note = ''"),
        code("import os, time\nopen(note, 'w').write(str(os.getpid()))\ntime.sleep(1000)"),
    )
    note = tmp_path / "pid"
    late = RowTask(
        "late", "k", str(book), book.read_bytes(), {"note": str(note)}, False, 900.0, 12.0, str(tmp_path)
    )
    entry, _ = run_row(late)
    assert entry["reason"] == "DeadlineExceeded"
    assert entry["failure"]["cell"] == 2
    assert not Path(f"/proc/{note.read_text()}").exists()


def test_two_attempts_at_one_row_run_it_once(notebook: Path, tmp_path: Path) -> None:
    log, wait = tmp_path / "log", tmp_path / "wait"
    wait.touch()
    wanted = task(notebook, tmp_path / "study", size=5, log=str(log), wait=str(wait))
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(run_row(wanted)[0])) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait.unlink()
    for thread in threads:
        thread.join(120)
    assert found[0] == found[1]
    assert log.read_text() == "5\n"


def test_an_aborted_row_is_not_finished(notebook: Path, tmp_path: Path) -> None:
    wait = tmp_path / "wait"
    wait.touch()
    wanted = task(notebook, tmp_path / "aborted", wait=str(wait))
    abort(wanted.study)
    with pytest.raises(RowAborted):
        run_row(wanted)
    assert read_entry(tmp_path / "aborted/rows/k1") is None


def test_a_row_from_afar_arrives_whole(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_CACHE_DIR", str(tmp_path / "cache"))
    away = notebook.rename(tmp_path / "moved.ipynb")
    data = away.read_bytes()
    far = RowTask("far", "k2", str(notebook), data, {"size": 2}, True, 60.0, 120.0)
    entry, archive = run_row(far)
    assert entry["status"] == "passed"
    assert archive is not None
    unpack(archive, tmp_path / "here/k2")
    assert read_entry(tmp_path / "here/k2") == entry
    assert (tmp_path / "here/k2" / NOTEBOOK).exists()
    assert (Settings.load().cache_dir / "studies/far/rows/k2/row.json").exists()


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_text("x" * 5000)
    with pytest.raises(DataError, match="damaged row"):
        unpack(pack(tmp_path / "a")[:60], tmp_path / "b")


def _archive(name: str, kind: bytes, size: int, count: int = 1) -> bytes:
    """A packed archive of ``count`` members that say to be of ``size`` bytes, zeros behind them."""
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    zeros = gzip.compress(bytes(1 << 20)) * (-(-size >> 20) + 1)
    return gzip.compress(member.tobuf() * count, 1) + zeros


BOMBS = {
    "a large file": _archive("big", tarfile.REGTYPE, 300 << 20),
    "a long name": _archive("name", tarfile.GNUTYPE_LONGNAME, 300 << 20),
    "long headers": _archive("name", tarfile.XHDTYPE, 300 << 20),
    "a large device": _archive("device", tarfile.CHRTYPE, 300 << 20),
    "many files": _archive("file", tarfile.REGTYPE, 0, 20_001),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_an_archive_that_unpacks_to_too_much_is_refused(bomb: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unpacks to more than 20000 files or 256 MiB"):
        unpack(BOMBS[bomb], tmp_path / "row")
    assert not list((tmp_path / "row").iterdir())


def test_what_is_packed_can_be_unpacked_and_has_its_entry(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    for number in range(3):
        with (folder / f"{number}.log").open("wb") as stream:
            stream.truncate(100 << 20)
    (folder / "row.json").write_text("{}")
    unpack(pack(folder), tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["0.log", "1.log", "row.json"]


def test_a_row_ends_with_the_process_that_runs_it(notebook: Path, tmp_path: Path) -> None:
    wait, marker = tmp_path / "wait", tmp_path / "study"
    wait.touch()
    program = (
        "import sys, json\nfrom labkit.studies.row import RowTask, run_row\n"
        "run_row(RowTask('s', 'k', sys.argv[1], open(sys.argv[1], 'rb').read(), {'wait': sys.argv[2]}, "
        "True, 60.0, 90.0, sys.argv[3]))"
    )
    owner = subprocess.Popen([sys.executable, "-c", program, notebook, wait, marker])
    folder = marker / "rows/k"
    _until(lambda: "square" in (folder / NOTEBOOK).read_text() if (folder / NOTEBOOK).exists() else False)
    owner.kill()
    owner.wait()
    _until(lambda: not _processes_of(folder))
    assert read_entry(folder) is None


def _until(true: Any, seconds: float = 90.0) -> None:
    import time

    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def _processes_of(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


FULL = StorageError("The disk is full.", "Free some space.")


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), FULL], ids=["system", "runner"]
)
def test_a_row_without_space_leaves_none_taken(
    error: Exception, notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "study/rows/k1"

    def fill(*_: object, **__: object) -> None:
        (folder / "half").write_bytes(bytes(1000))
        raise error

    monkeypatch.setattr("labkit.studies.row.execute_guarded", fill)
    with pytest.raises(LabkitError, match="is full"):
        run_row(task(notebook, tmp_path / "study", size=3))
    assert list(folder.iterdir()) == []


def written(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "row.json").write_text(text)
    return folder


@pytest.mark.parametrize(
    "change",
    [
        {"status": "waiting"},
        {"recorded": []},
        {"registers": "x"},
        {"seconds": "1"},
        {"cells": None},
        {"output": 5},
        {"left_behind": True},
        {"failure": {"cell": 1}},
        {"failure": [1]},
    ],
)
def test_an_entry_of_another_shape_is_none(change: dict[str, Any], tmp_path: Path) -> None:
    good = {"status": "passed", "recorded": {}, "seconds": 1.5, "failure": None, "output": NOTEBOOK}
    assert read_entry(written(tmp_path / "good", json.dumps(good))) is not None
    assert read_entry(written(tmp_path / "bad", json.dumps(good | change))) is None
    assert read_entry(written(tmp_path / "deep", "[" * 100_000)) is None


def test_an_entry_is_no_link_and_makes_no_hardware(tmp_path: Path) -> None:
    said = {"status": "passed", "platform": "TDX", "trust": None, "accelerator": "real hardware"}
    folder = written(tmp_path / "row", json.dumps(said))
    entry = read_entry(folder)
    assert entry is not None
    assert (entry["platform"], entry["trust"], entry["accelerator"]) == ("unproven", "none", "unproven")
    (folder / "row.json").rename(tmp_path / "elsewhere")
    (folder / "row.json").symlink_to(tmp_path / "elsewhere")
    assert read_entry(folder) is None
    (folder / "row.json").unlink()
    os.mkfifo(folder / "row.json")
    assert read_entry(folder) is None
