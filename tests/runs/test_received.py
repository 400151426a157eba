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
from labkit.runs import publish
from labkit.runs.record import read_record
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
        {"failure": {"cell": {}, "cell_id": "x", "first_line": "", "ename": "", "evalue": ""}},
        {"failure": {"cell": 1, "cell_id": "x", "first_line": "", "ename": ["a"], "evalue": ""}},
        {"left_behind": [{}]},
        {"parameters": [["a", 1]]},
        {"parameters": {"a": json.loads("[" * 600 + "]" * 600)}},
        {"name": "a" * 250},
        {"name": "ä" * 150},
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


@pytest.mark.parametrize(
    "claims",
    [
        {"platform": "hardware", "trust": "hardware", "accelerator": "kvm"},
        {"platform": "emulated", "trust": "none", "accelerator": "Intel TDX hardware"},
        {"platform": None, "trust": None, "accelerator": "real hardware"},
        {"platform": "hardware", "trust": None, "accelerator": None},
    ],
)
def test_no_record_makes_hardware(claims: dict[str, str | None], sent: Path) -> None:
    write(sent, RECORD | claims | {"stamp": "", "chapters": [CHAPTER | claims]})
    run = read_record(sent)
    assert run.reported.trust is Trust.NONE
    publish(run)
    assert json.loads((sent / "run.json").read_text())["trust"] == "none"
    page = (sent / "site/index.html").read_text()
    assert "EMULATED" in page
    assert "hardware" not in page.replace("No TDX hardware took part", "")


def published(folder: Path, *cells: Any, **change: Any) -> str:
    nbformat.write(new_notebook(cells=list(cells)), folder / "executed/00-first.ipynb")
    write(folder, RECORD | {"chapters": [CHAPTER | change]})
    publish(read_record(folder))
    return site_text(folder)


@pytest.mark.parametrize(("shown", "stamped"), [("EMULATED", True), ("hardware", False)])
def test_a_chapter_that_reports_nothing_has_the_stamp_of_what_it_shows(
    shown: str, stamped: bool, sent: Path
) -> None:
    outputs = [new_output("display_data", {"text/plain": f"a model of the module: {shown}"})]
    silent = {"platform": None, "trust": None, "accelerator": None}
    published(sent, new_markdown_cell("# A"), new_code_cell("x", outputs=outputs), **silent)
    assert ("EMULATED" in (sent / "site/index.html").read_text()) is stamped


def test_a_chapter_that_left_no_notebook_has_a_page(sent: Path) -> None:
    failure = {"cell": None, "first_line": "", "ename": "ProcessEnded", "evalue": "it ended", "cell_id": None}
    published(sent, status="failed", output=None, failure=failure)
    assert "ProcessEnded: it ended" in (sent / "site/00-first.html").read_text()


@pytest.mark.parametrize(
    "cell",
    [
        new_markdown_cell('[x](http://[) <a href="//[::1">y</a>'),
        new_code_cell("x", outputs=[new_output("display_data", {"text/html": '<a href="http://[">y</a>'})]),
        new_markdown_cell("![picture](attachment:absent.png)"),
        new_markdown_cell("![picture](attachment:a.png)", attachments={"a.png": {}}),
        new_markdown_cell("![picture](attachment:a.png)", attachments={"a.png": {"text/html": "PGI+"}}),
        new_markdown_cell('![x](attachment:a"b)', attachments={'a"b': {"image/png": '"><script>'}}),
    ],
)
def test_a_broken_link_or_picture_ends_no_page(cell: Any, sent: Path) -> None:
    text = published(sent, cell, new_markdown_cell("what follows"))
    assert "what follows" in text
    assert "data:text/html" not in text


def test_a_picture_that_a_cell_brings_is_shown(sent: Path) -> None:
    cell = new_markdown_cell("![p](attachment:a.png)", attachments={"a.png": {"image/png": "aGVsbG8="}})
    assert "data:image/png;base64,aGVsbG8=" in published(sent, cell)


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("minor", [0, 4, 5])
def test_a_notebook_is_read_whatever_program_wrote_it(before: bytes, minor: int, sent: Path) -> None:
    """Windows' editors put a mark before it; some programs write ids and keep an older format's number."""
    path = sent / "executed/00-first.ipynb"
    document = json.loads(path.read_text()) | {"nbformat_minor": minor}
    document["cells"][0]["source"] = ["1\n", "+ 41"]
    path.write_bytes(before + json.dumps(document, indent=1).replace("\n", "\r\n").encode())
    publish(read_record(sent))
    assert "41" in site_text(sent)


def test_a_cell_that_cannot_be_shown_is_refused_in_a_sentence(sent: Path) -> None:
    with pytest.raises(DataError, match=r"00-first\.ipynb cannot be shown"):
        published(sent, new_markdown_cell("![x](attach&#109;ent:absent.png)"))


@pytest.mark.parametrize("versions", [(4.0, 5), (4, 5.0), (True, 5), ("4", 5), (3, 0), (5, 0)])
def test_a_notebook_of_another_format_is_refused(versions: tuple[Any, Any], sent: Path) -> None:
    document = {"nbformat": versions[0], "nbformat_minor": versions[1], "metadata": {}, "cells": []}
    (sent / "executed/00-first.ipynb").write_text(json.dumps(document))
    with pytest.raises(DataError, match="not a notebook of format 4"):
        publish(read_record(sent))


def test_each_chapter_has_a_page_of_its_own(sent: Path) -> None:
    names = ["index", "index-chapter", "glossary", "everything", "everything-chapter"]
    chapters = [CHAPTER | {"name": name, "title": f"The title of {name}"} for name in names]
    write(sent, RECORD | {"chapters": chapters})
    publish(read_record(sent))
    pages = [path.read_text() for path in (sent / "site").glob("*.html")]
    for name in names:
        assert sum(f"The title of {name}</title>" in page for page in pages) == 1, name


def test_deep_markup_is_made_inert_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from bs4 import Tag

    from labkit.runs.site import make_inert

    monkeypatch.setattr(
        Tag, "find", lambda *_args, **_words: pytest.fail("each element was searched through")
    )
    assert make_inert("<div>" * 50 + "deep", {}).endswith("deep" + "</div>" * 50)
