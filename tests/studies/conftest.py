"""A small notebook to sweep, which counts how often it runs to its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.notebooks import code, parameters, write_notebook

WORK = """
import pathlib, time
from labkit.show.recorded import record
record("square", size * size)
record("name", name)
while wait and pathlib.Path(wait).exists():
    time.sleep(0.05)
if size == 7:
    raise ValueError("seven")
"""
COUNT = "if log:\n    with open(log, 'a') as file:\n        file.write(f'{size}\\n')"


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return write_notebook(
        tmp_path / "work.ipynb",
        parameters("size = 1\nname = ''\nlog = ''\nwait = ''\nrun_dir = None"),
        code(WORK),
        code(COUNT),
    )
