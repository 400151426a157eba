"""The committed notebooks, and that the checks of them see what they are for."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labkit.runs.source import load_source
from tests.notebooks.committed import FOLDER, complaints, notebooks
from tests.runs.notebooks import code, markdown, parameters, write_notebook


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_a_committed_notebook_is_in_order(path: Path) -> None:
    assert complaints(path) == []


@pytest.mark.parametrize(
    "name", ["00-start-here", "03-boot-the-tdvm", "04-attest", "07-meet-asterinas", "flow"]
)
def test_the_guest_is_a_parameter_where_one_boots(name: str) -> None:
    path = FOLDER / f"{name}.ipynb"
    assert "guest" in load_source(path).parameters
    code = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert any("guest" in "".join(cell["source"]) for cell in code[1:]), "and reaches a boot"


def outcomes(path: Path) -> list[ast.Call]:
    """Where a chapter shows what a prediction came to."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    calls = [node for cell in cells for node in ast.walk(ast.parse("".join(cell["source"])))]
    return [call for call in calls if isinstance(call, ast.Call) and ast.unparse(call.func) == "lab.outcome"]


def test_every_outcome_says_why() -> None:
    python = [path for path in notebooks() if load_source(path).kernel == "python3"]
    told = {ast.unparse(call.args[0]): len(call.args) for path in python for call in outcomes(path)}
    assert len(told) > 50
    assert [name for name, words in told.items() if words < 3] == []


def good(path: Path) -> dict[str, Any]:
    write_notebook(path, markdown("# A"), parameters("n = 1"), code("print(n)"))
    document: dict[str, Any] = json.loads(path.read_text())
    document["cells"][1]["execution_count"] = 1
    document["cells"][2]["execution_count"] = 2
    document["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "1\n/dev/kvm\n"}]
    return document


def test_a_notebook_in_order_gives_no_complaint(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(good(path)))
    assert complaints(path) == []


def set_output(document: dict[str, Any], output: dict[str, Any]) -> None:
    document["cells"][2]["outputs"] = [output]


def downgrade(document: dict[str, Any]) -> None:
    document["nbformat_minor"] = 4
    for cell in document["cells"]:
        del cell["id"]


ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}
SCRIPT = {"output_type": "display_data", "metadata": {}, "data": {"text/html": "<SCRIPT>1</SCRIPT>"}}
FETCHED = {"output_type": "display_data", "metadata": {}, "data": {"text/html": '<img src="https://a/b">'}}
VENDORS: dict[str, Any] = SCRIPT | {"data": {"application/vnd.a+json": {}, "image/svg+xml": "<svg/>"}}
PATH = {"output_type": "stream", "name": "stdout", "text": "made '/home/me/x'"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda it: it["cells"][1]["metadata"].clear(), "0 cells are tagged parameters"),
        (lambda it: it["cells"][0].pop("id"), "cell 1: no id"),
        (lambda it: it["cells"][0].update(source="\n"), "cell 1: it is empty"),
        (lambda it: it["cells"][0].update(source="- a\n\n  | b |\n  |---|\n"), "cell 1: a table in a list"),
        (downgrade, "older than format 4.5"),
        (lambda it: it["metadata"]["kernelspec"].update(name="bash"), "the kernel bash is none of"),
        (lambda it: it["cells"][2].update(execution_count=None), "execution counts are [1, None]"),
        (lambda it: it["cells"][2].update(execution_count=7), "execution counts are [1, 7]"),
        (lambda it: it["cells"][2].update(source="x" * 200_000), "bytes are more than"),
        (
            lambda it: it["cells"][2].update(source="open('/mnt/x')"),
            "cell 3: a path of one machine: /mnt/x",
        ),
        (lambda it: it["cells"][2]["metadata"].update(papermill={}), "cell 3: metadata of one execution"),
        (lambda it: it["metadata"]["language_info"].update(version="3"), "metadata of one execution"),
        (lambda it: it["metadata"].update(papermill={}), "metadata of one execution"),
        (lambda it: set_output(it, ERROR), "cell 3: an error is kept: ValueError"),
        (lambda it: set_output(it, SCRIPT), "cell 3: a script is kept"),
        (lambda it: set_output(it, SCRIPT), "cell 3: markup without words"),
        (lambda it: set_output(it, FETCHED), "cell 3: an image from elsewhere is kept"),
        (lambda it: set_output(it, FETCHED), "cell 3: a picture without words"),
        (lambda it: set_output(it, VENDORS), "cell 3: few front ends draw application/vnd.a+json"),
        (lambda it: set_output(it, VENDORS), "cell 3: few front ends draw image/svg+xml"),
        (lambda it: set_output(it, PATH), "cell 3: a path of one machine: /home/me"),
    ],
)
def test_a_fault_is_complained_about(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], complaint: str
) -> None:
    path = tmp_path / "a.ipynb"
    document = good(path)
    change(document)
    path.write_text(json.dumps(document))
    assert any(complaint in found for found in complaints(path)), complaints(path)
