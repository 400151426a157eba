"""nbval over the chapters, each in a pytest of its own: its warnings are not labkit's."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from labkit import process
from labkit.process import Completed
from tests.book.notebooks import code, parameters, write_notebook
from tests.notebooks.committed import ROOT, chapters

SANITIZE = Path(__file__).with_name("sanitize.cfg")


def nbval(path: Path, root: Path = ROOT) -> Completed:
    options: list[str | Path] = ["--nbval", "--nbval-sanitize-with", SANITIZE, "--nbval-cell-timeout", "600"]
    return process.run(
        [sys.executable, "-m", "pytest", "-q", *options, "--rootdir", root, "-p", "no:cacheprovider", path],
        timeout=1800,
        cwd=root,
        env={**os.environ, "LABKIT_UI": "static", "PY_COLORS": "0"},
    )


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_a_chapter_gives_the_outputs_that_are_committed(path: Path) -> None:
    done = nbval(path)
    assert done.status == 0, done.text


@pytest.mark.parametrize(("committed", "passes"), [("12.5 s, 3 items", True), ("12.5 s, 4 items", False)])
def test_nbval_forgives_what_is_named_and_nothing_else(tmp_path: Path, committed: str, passes: bool) -> None:
    path = write_notebook(tmp_path / "a.ipynb", parameters("n = 3"), code("print(f'0.25 s, {n} items')"))
    document = json.loads(path.read_text())
    document["cells"][0]["execution_count"] = 1
    document["cells"][1]["execution_count"] = 2
    document["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": committed + "\n"}]
    path.write_text(json.dumps(document))
    done = nbval(path, tmp_path)
    assert (done.status == 0) is passes, done.text
