"""`%%host`: nobody's cell runs on this machine without its owner's word."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import nbformat
import pytest
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell, new_notebook

from labkit.errors import UsageError
from labkit.kernel.host import ALLOW, HostPermission, own_cells

CELL = "%%host\ntouch /tmp/somewhere"


class Person:
    """Somebody in front of the notebook."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, prompt: str, hidden: bool) -> str | None:
        assert not hidden
        self.asked.append(prompt)
        return self.answers.pop(0)


def test_it_is_asked_once_in_a_notebook() -> None:
    person, permission = Person("y"), HostPermission({})
    for _ in range(3):
        permission.require(CELL, person)
    assert len(person.asked) == 1
    assert "your own machine" in person.asked[0]


@pytest.mark.parametrize("answer", ["", "n", "no", "yess", "\x1by"])
def test_anything_but_yes_is_no_and_stays_no(answer: str) -> None:
    person, permission = Person(answer), HostPermission({})
    for _ in range(3):
        with pytest.raises(UsageError, match="nobody allowed it") as refusal:
            permission.require(CELL, person)
    assert len(person.asked) == 1
    assert "--allow-host" in refusal.value.remedy


def test_without_anybody_to_ask_it_is_refused() -> None:
    with pytest.raises(UsageError, match="nobody allowed it"):
        HostPermission({}).require(CELL, None)
    with pytest.raises(UsageError, match="nobody allowed it"):
        HostPermission({ALLOW: "0"}).require(CELL, None)
    HostPermission({ALLOW: "1"}).require(CELL, None)


def test_an_interrupted_question_is_asked_again() -> None:
    person, permission = Person(None, "yes"), HostPermission({})
    with pytest.raises(UsageError):
        permission.require(CELL, person)
    permission.require(CELL, person)
    assert len(person.asked) == 2


def test_labkits_own_cells_are_not_asked_about() -> None:
    assert own_cells()
    for cell in own_cells():
        HostPermission({}).require(f"\n{cell}\n", None)
        with pytest.raises(UsageError):
            HostPermission({}).require(f"{cell}; id", None)


def test_a_signed_notebook_is_not_asked_about_and_only_its_own_cells_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    path = tmp_path / "sent.ipynb"
    notebook = new_notebook(cells=[new_code_cell(CELL)])
    nbformat.write(notebook, path)
    permission = HostPermission({"JPY_SESSION_NAME": str(path)})
    with pytest.raises(UsageError):
        permission.require(CELL, None)
    notary = NotebookNotary()
    with contextlib.closing(notary.store):
        notary.sign(nbformat.read(path, as_version=4))
    permission.require(CELL, None)
    with pytest.raises(UsageError):
        permission.require("%%host\nid", None)
    document = json.loads(path.read_text())
    document["cells"][0]["source"] = "%%host\nid"
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError):
        permission.require("%%host\nid", None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        json.dumps({"cells": [{"source": CELL}]}),
        json.dumps({"cells": 7, "nbformat": 4}),
        json.dumps({"cells": [{"cell_type": "code", "source": CELL}], "nbformat": 4, "nbformat_minor": "x"}),
    ],
)
def test_a_notebook_that_cannot_be_judged_is_asked_about(text: str, tmp_path: Path) -> None:
    path = tmp_path / "notebook.ipynb"
    path.write_text(text)
    with pytest.raises(UsageError):
        HostPermission({"JPY_SESSION_NAME": str(path)}).require(CELL, None)
