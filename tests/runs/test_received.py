"""A run directory that somebody sent: whatever stands in it, nothing outside it is read or written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labkit.errors import DataError, LabkitError
from labkit.runs import publish, read_record
from labkit.settings import Trust

CHAPTER: dict[str, Any] = {
    "name": "00-first",
    "title": "First",
    "source": "00-first.ipynb",
    "source_sha256": "00",
    "kernel": "python3",
    "parameters": {},
    "status": "passed",
    "started": "2026-01-02T03:04:05+00:00",
    "seconds": 1.0,
    "cells_run": 1,
    "cells": 1,
    "output": "executed/00-first.ipynb",
    "results": [],
    "left_behind": [],
    "failure": None,
    "platform": "emulated",
    "trust": "none",
    "accelerator": "tcg",
}
RECORD: dict[str, Any] = {
    "format": 1,
    "status": "passed",
    "started": "2026-01-02T03:04:05+00:00",
    "finished": "2026-01-02T03:05:05+00:00",
    "seconds": 60.0,
    "host": {"os": "x", "kernel": "x", "processor": "x", "cpus": 1, "memory_mib": 1},
    "versions": {"labkit": "0"},
    "git": None,
    "chapters": [CHAPTER],
    "site": None,
}
SECRET = "the secret of this machine"


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    """A harmless run directory beside a secret file."""
    (tmp_path / "secret.ipynb").write_text(json.dumps(new_notebook(metadata={"secret": SECRET})))
    folder = tmp_path / "sent"
    (folder / "executed").mkdir(parents=True)
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), folder / "executed/00-first.ipynb")
    write(folder, RECORD)
    return folder


def write(folder: Path, record: dict[str, Any]) -> None:
    (folder / "run.json").write_text(json.dumps(record))


def outside(folder: Path) -> dict[str, bytes]:
    beside = folder.parent
    return {
        str(path.relative_to(beside)): path.read_bytes()
        for path in beside.rglob("*")
        if path.is_file() and folder not in path.parents
    }


def site_text(folder: Path) -> str:
    return "".join(path.read_text() for path in (folder / "site").rglob("*") if path.is_file())


def test_a_harmless_one_is_published(sent: Path) -> None:
    run = publish(read_record(sent))
    assert run.index is not None
    assert run.index.is_file()
    assert "EMULATED" in run.index.read_text()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../evil"},
        {"name": "/tmp/evil"},
        {"name": "a/b"},
        {"name": ".."},
        {"name": ".hidden"},
        {"name": "a\nb"},
        {"name": ""},
        {"name": 5},
        {"output": "../secret.ipynb"},
        {"output": "/etc/passwd"},
        {"output": "executed/../../secret.ipynb"},
        {"output": 7},
        {"results": ["../x"]},
        {"results": [1]},
        {"title": 5},
        {"status": "passed forged"},
        {"seconds": "x"},
        {"parameters": 5},
        {"started": 5},
        {"failure": {"cell": 1}},
        {"seconds": float("nan")},
        {"seconds": 10**400},
        {"cells": -1},
    ],
)
def test_a_record_that_leads_out_or_is_damaged_is_refused(change: dict[str, Any], sent: Path) -> None:
    write(sent, RECORD | {"chapters": [CHAPTER | change]})
    before = outside(sent)
    with pytest.raises(DataError):
        publish(read_record(sent))
    assert outside(sent) == before


@pytest.mark.parametrize(
    "change",
    [
        {"host": {}},
        {"host": [["os", "x"]]},
        {"host": RECORD["host"] | {"cpus": "many"}},
        {"host": RECORD["host"] | {"kernel": None}},
        {"git": [1]},
        {"git": {"commit": 1, "changed": False}},
        {"seconds": "1"},
        {"finished": "yesterday"},
        {"status": ["passed"]},
        {"chapters": [CHAPTER, CHAPTER | {"title": "Second"}]},
        {"chapters": 1},
        {"versions": []},
    ],
)
def test_a_damaged_record_is_refused_in_our_words(change: dict[str, Any], sent: Path) -> None:
    write(sent, RECORD | change)
    with pytest.raises(DataError, match=r"is damaged: ") as refused:
        publish(read_record(sent))
    assert not any(word in refused.value.message for word in ("Error", "object", "NoneType", "convert"))


@pytest.mark.parametrize(
    "change", [{"site": "../x"}, {"site": 5}, {"status": 1}, {"started": "x"}, {"host": 5}]
)
def test_a_damaged_record_is_refused(change: dict[str, Any], sent: Path) -> None:
    write(sent, RECORD | change)
    with pytest.raises(DataError):
        read_record(sent)


def replaced(folder: Path, name: str, make: Callable[[Path], None]) -> None:
    (folder / name).unlink(missing_ok=True)
    make(folder / name)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to("../../secret.ipynb"),
        lambda path: path.symlink_to("/etc/passwd"),
        os.mkfifo,
        lambda path: path.mkdir(),
    ],
    ids=["zero", "secret", "passwd", "fifo", "folder"],
)
@pytest.mark.parametrize("name", ["executed/00-first.ipynb", "run.json"])
def test_what_is_no_regular_file_is_refused_at_once(
    name: str, make: Callable[[Path], None], sent: Path
) -> None:
    replaced(sent, name, make)
    with pytest.raises(LabkitError):
        publish(read_record(sent))
    if (sent / "site").exists():
        assert SECRET not in site_text(sent)


def test_links_where_labkit_writes_are_replaced_and_not_followed(sent: Path) -> None:
    victim = sent.parent / "victim"
    victim.mkdir()
    (victim / "kept").write_text("kept")
    for name in ("run.json.new", "site"):
        (sent / name).symlink_to(victim if name == "site" else victim / "kept")
    before = outside(sent)
    publish(read_record(sent))
    assert outside(sent) == before
    assert not (sent / "site").is_symlink()
    (sent / "site/index.html").unlink()
    for path in sorted((sent / "site").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (sent / "site").rmdir()
    (sent / "site").symlink_to(sent.parent / "absent")
    publish(read_record(sent))
    assert not (sent.parent / "absent").exists()


def test_no_file_of_this_machine_gets_into_a_page(sent: Path) -> None:
    """Neither by an image that a cell names, nor by the folder that the notebook says it came from."""
    notebook = new_notebook(
        cells=[
            new_markdown_cell("![x](/etc/passwd) ![y](../secret.ipynb) <img src='/etc/hostname'>"),
            new_code_cell(
                "1", outputs=[new_output("display_data", data={"text/html": "<img src='/etc/passwd'>"})]
            ),
        ],
        metadata={"papermill": {"input_path": "/etc/x.ipynb"}},
    )
    nbformat.write(notebook, sent / "executed/00-first.ipynb")
    publish(read_record(sent))
    text = site_text(sent)
    assert "data:" not in text.replace("img-src data:", "")
    assert "root:" not in text


def test_no_record_makes_hardware(sent: Path) -> None:
    claims = {"platform": "hardware", "trust": "hardware", "accelerator": "kvm"}
    write(sent, RECORD | claims | {"stamp": "", "chapters": [CHAPTER | claims]})
    run = read_record(sent)
    assert run.reported.trust is Trust.NONE
    publish(run)
    assert json.loads((sent / "run.json").read_text())["trust"] == "none"
    page = (sent / "site/index.html").read_text()
    assert "EMULATED" in page
    assert "hardware" not in page.replace("No TDX hardware took part", "")
