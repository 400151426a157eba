"""One sweep on two worker processes beside the same sweep on one: how far from linear it is.

A row starts a Jupyter kernel, waits SECONDS in a cell (``time.sleep``, which stands for a TDVM that boots,
or a machine that answers) and records a number. What is measured is the cost of labkit and Dask, from
the command to its end: workers, kernels, tables, pages. LABKIT_BENCH_ROWS says how many rows; 100 take a
quarter of an hour.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from _report import report

from labkit.process import run

ROWS = int(os.environ.get("LABKIT_BENCH_ROWS", "20"))
SECONDS = 5.0
LIMIT = 0.9  # of linear


def notebook(path: Path) -> Path:
    """The notebook that is swept."""
    cells = [
        nbformat.v4.new_code_cell("number = 0", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            f"import time\nfrom labkit.show.recorded import record\ntime.sleep({SECONDS})"
        ),
        nbformat.v4.new_code_cell("record('square', number * number)"),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


def sweep(book: Path, jobs: int) -> float:
    """Seconds that the whole command takes on so many workers."""
    numbers = ",".join(map(str, range(ROWS)))
    output = book.parent / f"out-{jobs}"
    words = [sys.executable, "-m", "labkit", "sweep", book, "-p", "number", numbers, "-j", jobs]
    start = time.perf_counter()
    done = run([*map(str, words), "--output", output], timeout=3600)
    assert done.ok, done.stderr.decode()
    return time.perf_counter() - start


def main() -> int:
    """Measure both; 1 where two workers are not near enough to twice as fast."""
    with TemporaryDirectory() as name:
        book = notebook(Path(name) / "waits.ipynb")
        two, one = sweep(book, 2), sweep(book, 1)
    linear = one / two / 2
    row = {"rows": ROWS, "waits in a row (s)": SECONDS, "one worker (s)": one, "two workers (s)": two}
    report("sweep", [{**row, "of linear": linear, "limit": LIMIT}])
    return 0 if linear >= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
