"""How an error of labkit's own looks in a notebook."""

from __future__ import annotations

import nbformat
from nbclient import NotebookClient


def test_an_error_in_a_cell_is_its_line_and_one_sentence() -> None:
    code = "from labkit.measure import parse_log\n\nparse_log(b'no log')"
    cell = nbformat.v4.new_code_cell(code, metadata={"tags": ["raises-exception"]})
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert output.ename == "MalformedEventLog"
    where, what = output.traceback
    assert where == "In line 3 of the cell: parse_log(b'no log')"
    assert what == f"MalformedEventLog: {output.evalue}"
