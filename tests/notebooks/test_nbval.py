"""nbval with the sanitize file, as `./lab test` calls it on the chapters, forgives what is named alone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from labkit import process
from labkit.process import Completed
from tests.runs.notebooks import code, parameters, write_notebook

SANITIZE = Path(__file__).with_name("sanitize.cfg")


def nbval(root: Path, *paths: Path) -> Completed:
    options: list[str | Path] = ["--nbval", "--nbval-sanitize-with", SANITIZE, "--nbval-cell-timeout", "600"]
    options += ["-p", "no:cacheprovider", "--rootdir", root]
    return process.run(
        [sys.executable, "-m", "pytest", "-q", *options, *paths],
        timeout=1800,
        cwd=root,
        env={**os.environ, "LABKIT_UI": "static", "PY_COLORS": "0"},
    )


def test_nbval_forgives_what_is_named_and_nothing_else(tmp_path: Path) -> None:
    for name, committed in (("same", "12.5 s, 3 items"), ("other", "12.5 s, 4 items")):
        path = write_notebook(
            tmp_path / f"{name}.ipynb", parameters("n = 3"), code("print(f'0.25 s, {n} items')")
        )
        document = json.loads(path.read_text())
        for count, cell in enumerate(document["cells"], 1):
            cell["execution_count"] = count
        output = {"output_type": "stream", "name": "stdout", "text": committed + "\n"}
        document["cells"][1]["outputs"] = [output]
        path.write_text(json.dumps(document))
    done = nbval(tmp_path, tmp_path / "same.ipynb", tmp_path / "other.ipynb")
    assert done.status == 1, done.text
    assert "1 failed, 3 passed" in done.text
    assert "FAILED other.ipynb::Cell 1" in done.text
