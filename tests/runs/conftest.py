"""One real run of small notebooks, shared by the tests that look at what it left."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.runs import Run, publish
from labkit.runs.runner import plan_run, run_plan
from tests.runs.notebooks import DAEMON, code, markdown, parameters, write_notebook

INTRODUCTION = """
# The first

A *trust domain* (TD) is a virtual machine whose memory the host cannot read. Before you run the next
cell: **what do you expect it to print?** Then go on to [the chapter that fails](01-fails.ipynb).

| register | holds |
|---|---|
| MRTD | the firmware, measured page by page before the first instruction runs |
| RTMR0 | the firmware's configuration |

> Nothing here needs TDX hardware.
"""
REPORT = """
import json, os, pathlib
here = pathlib.Path(run_dir, "00-first")
here.mkdir()
(here / "result.json").write_text(json.dumps({
    "platform": "emulated", "trust": "none", "accelerator": "tcg", "versions": {"swtpm": "0.7"}}))
print(who, count, pathlib.Path.cwd().name, os.environ["LABKIT_UI"], flush=True)
for line in range(200):
    print(line, flush=True)
"""
PICTURE = """
from IPython.display import HTML, SVG, display
display(HTML("<table><tr><th>register</th><th>value</th></tr><tr><td>MRTD</td><td><code>" + 96 * "a"
    + "</code></td></tr></table>"))
display(SVG('<svg xmlns="http://www.w3.org/2000/svg" width="600" height="40"><rect width="200" height="40" '
    'fill="#2da44e"/><rect x="200" width="400" height="40" fill="#0969da"/></svg>'))
print("\\x1b[32mgreen\\x1b[0m", 200 * "-")
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("book")
    write_notebook(
        root / "notebooks/00-first.ipynb",
        markdown(INTRODUCTION),
        parameters("who = 'nobody'\ncount = 1\nrun_dir = None"),
        code(REPORT),
        code(DAEMON),
        code(PICTURE),
    )
    write_notebook(
        root / "notebooks/01-fails.ipynb",
        parameters("run_dir = None"),
        code("1 / 0", "raises-exception"),
        markdown("Now it breaks"),
        code("\n# a comment first\nraise ValueError('<b>bold</b>')"),
        code("print('never')"),
    )
    write_notebook(
        root / "notebooks/02-hangs.ipynb", code("import time\ntime.sleep(1000)", "raises-exception")
    )
    write_notebook(root / "notebooks/03-dies.ipynb", code("import os"), code("os._exit(3)"))
    expects = write_notebook(
        root / "notebooks/04-expects.ipynb", code("1 / 0", "raises-exception"), code("print('after')")
    )
    # As other programs than Jupyter write it: without the name of a kernel.
    expects.write_text(json.dumps(json.loads(expects.read_text()) | {"metadata": {}}))
    return root


@pytest.fixture(scope="session")
def said() -> list[str]:
    return []


@pytest.fixture(scope="session")
def run(folder: Path, said: list[str]) -> Run:
    plan = plan_run(parameters={"who": "world", "count": "3"}, output=Path("out"), timeout=3, start=folder)
    return run_plan(plan, said.append)


@pytest.fixture(scope="session")
def site(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The published copy of the run."""
    copy = tmp_path_factory.mktemp("published") / "run"
    shutil.copytree(run.directory, copy)
    return publish(replace(run, directory=copy))
