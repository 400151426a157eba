"""The verbs `run` and `publish` as a person types them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from labkit import process
from labkit.process import Completed
from tests.book.notebooks import code, markdown, parameters, write_notebook


def labkit(folder: Path, *words: str) -> Completed:
    return process.run([sys.executable, "-m", "labkit", *words], cwd=folder, timeout=120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_notebook(
        tmp_path / "notebooks/00-good.ipynb", markdown("# Good"), parameters("n = 1"), code("print(n + 1)")
    )
    write_notebook(tmp_path / "notebooks/01-bad.ipynb", code("raise RuntimeError('no')"))
    return tmp_path


def test_run_prints_json_alone_and_exits_1_for_a_failed_chapter(folder: Path) -> None:
    done = labkit(folder, "run", "-p", "n", "41", "--json")
    assert done.status == 1
    document = json.loads(done.stdout)
    assert document["status"] == "failed"
    assert [chapter["status"] for chapter in document["chapters"]] == ["passed", "failed"]
    assert document["chapters"][0]["parameters"] == {"n": 41}
    assert b"1 of 2 chapters failed: 01-bad." in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("run", "nowhere"), 64, "There is no notebook nowhere."),
        (("run", "-p", "m", "1"), 64, "None of the notebooks has a parameter m."),
        (("run", "-p", "n", "much"), 64, "The parameter n is a whole number, not 'much'."),
        (("run", "--output", "notebooks"), 64, "is there and not empty."),
        (("run", "--timeout", "-1"), 64, "leaves no time to run."),
        (("run", "--timeout", "x"), 64, "'x' is not a valid float"),
        (("run", "broken.ipynb"), 65, "is no notebook of format 4."),
        (("publish", "notebooks"), 64, "There is no run in notebooks."),
    ],
)
def test_bad_input_is_a_sentence_and_an_exit_code(
    folder: Path, words: tuple[str, ...], status: int, message: str
) -> None:
    (folder / "broken.ipynb").write_text("{}")
    done = labkit(folder, *words)
    assert done.status == status
    assert message in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("verb", ["run", "publish"])
def test_help_ends_with_an_example(tmp_path: Path, verb: str) -> None:
    lines = labkit(tmp_path, verb, "--help").text.strip().splitlines()
    assert lines[-1].strip().startswith(f"Example: labkit {verb} ")
