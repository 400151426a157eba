from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit.errors import ChapterFailed
from labkit.runs.refreshing import read_patterns, refresh, settle
from tests.notebooks.committed import complaints
from tests.runs.notebooks import code, markdown, parameters, write_notebook

PATTERNS = read_patterns("[durations]\nregex: \\d+\\.\\d+ s\nreplace: SECONDS\n")


def test_a_second_refresh_changes_nothing_and_the_result_may_be_committed(tmp_path: Path) -> None:
    path = write_notebook(
        tmp_path / "a.ipynb",
        markdown("# A"),
        parameters("n = 2"),
        code("import time\nprint(f'{time.time():.6f} s')"),
        code("print('lines\\n' * n)\nn"),
    )
    assert refresh(path, PATTERNS).changed
    once = path.read_bytes()
    assert complaints(path) == []
    assert json.loads(once)["cells"][3]["outputs"][1]["execution_count"] == 3
    assert not refresh(path, PATTERNS).changed
    assert path.read_bytes() == once


def test_a_cell_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "a.ipynb", parameters("n = 0"), code("assert n, 'None.'"))
    before = path.read_bytes()
    with pytest.raises(
        ChapterFailed, match=r"a\.ipynb failed: cell 2, `assert n, 'None\.'`: AssertionError: None\. The"
    ):
        refresh(path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.ipynb"]


def executed(*texts: str) -> Any:
    notebook = nbformat.v4.new_notebook(metadata={"papermill": {"start_time": "now"}})
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.7", "codemirror_mode": {}}
    for number, text in enumerate(texts):
        output = nbformat.v4.new_output("stream", name="stdout", text=text)
        cell = nbformat.v4.new_code_cell("x", outputs=[output], execution_count=9, id=f"c{number}")
        cell.metadata["papermill"] = {"duration": 1.0}
        notebook.cells.append(cell)
    return notebook


def test_an_output_that_differs_only_by_a_pattern_is_kept() -> None:
    settled = settle(executed("1.0 s", "old"), executed("2.0 s", "new"), PATTERNS)
    assert [cell.outputs[0].text for cell in settled.cells] == ["1.0 s", "new"]


def test_nothing_of_one_execution_is_kept() -> None:
    settled = settle(executed("x"), executed("x"))
    assert settled.metadata == {"language_info": {"name": "python"}}
    assert settled.cells[0].metadata == {}
    assert settled.cells[0].execution_count == 1
