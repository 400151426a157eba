"""What a sweep is to run: a notebook, and a table of parameters with a row for each run."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit import __version__
from labkit.errors import DataError, UsageError
from labkit.files import read_named
from labkit.measure.wrapping import plain_text
from labkit.runs.parameters import RUN_DIR, assign
from labkit.runs.source import NotebookSource

_MOST_ROWS = 100_000
_MOST_LINES = 1_000_000
_MOST_COMMAS = 10_000  # in one line
_TABLE_LIMIT = 64 << 20
_KEY_LENGTH = 20


@dataclass(frozen=True)
class SweepRow:
    """One run of the notebook.

    number: its place in the table, from 1. key: names the row by its content, in file names too.
    given: the cells of the table. parameters: what the notebook gets, without the run directory.
    """

    number: int
    key: str
    given: dict[str, Any]
    parameters: dict[str, Any]

    @property
    def label(self) -> str:
        """The row in a few words."""
        return ", ".join(f"{name}={value}" for name, value in self.given.items()) or f"row {self.number}"


@dataclass(frozen=True)
class Design:
    """A notebook and its rows; ``columns`` are the names of the parameters, as the table has them."""

    source: NotebookSource
    columns: tuple[str, ...]
    rows: tuple[SweepRow, ...]

    @property
    def wants_run_dir(self) -> bool:
        """The notebook takes a directory of its own."""
        return RUN_DIR in self.source.parameters


def design(source: NotebookSource, table: Sequence[Mapping[str, Any]]) -> Design:
    """Check every row against the notebook, and name it by its content.

    Rows of the same content are runs of their own: the second has another key than the first. A key stands
    for the notebook's bytes, labkit's version and the values, so that whatever of these changes is run anew.

    Raises:
        UsageError: there is no row, or a row gives a parameter that the notebook does not have or take.
    """
    if not table:
        raise UsageError("The sweep has no row.", "Give a table with --over, or values with -p.")
    if len(table) > _MOST_ROWS:
        raise UsageError(f"The sweep has more than {_MOST_ROWS} rows.", "Sweep a part at a time.")
    seen: Counter[str] = Counter()
    rows = []
    for number, given in enumerate(table, 1):
        parameters = _parameters(source, number, given)
        content = json.dumps([__version__, source.sha256, parameters], sort_keys=True)
        seen[content] += 1
        key = hashlib.sha256(f"{content} {seen[content]}".encode()).hexdigest()[:_KEY_LENGTH]
        rows.append(SweepRow(number, key, dict(given), parameters))
    columns = tuple(dict.fromkeys(name for given in table for name in given))
    return Design(source, columns, tuple(rows))


def _parameters(source: NotebookSource, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
    # An empty cell is empty text where the notebook takes text, and the notebook's default elsewhere.
    values = {
        name: value
        for name, value in given.items()
        if value != "" or isinstance(source.parameters.get(name), str) or name not in source.parameters
    }
    try:
        assigned = assign([source], values, Path("/"))[source.name]
    except UsageError as error:
        raise UsageError(f"Row {number}: {error.message}", error.remedy) from error
    assigned.pop(RUN_DIR, None)
    return assigned


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file (RFC 4180, UTF-8), whose first line names the parameters.

    Raises:
        UsageError: the file cannot be read.
        DataError: it is no such table.
    """
    data = read_named(path, _TABLE_LIMIT)
    try:
        text = plain_text(data).decode()
        rows_of = csv.reader(_bounded(path, text), strict=True)
        # One more than may be: that there are too many is told by whoever counts them.
        lines = list(itertools.islice((line for line in rows_of if line), _MOST_ROWS + 2))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8.", "Save it again as CSV (UTF-8).") from error
    if not lines:
        raise DataError(f"{path} is empty.", "Its first line names the parameters, each other line is a run.")
    head = [cell.strip() for cell in lines[0]]
    if "" in head:
        raise DataError(f"{path}: a column has no name.", "Its first line names the parameters.")
    if doubled := [name for name, count in Counter(head).items() if count > 1]:
        raise DataError(f"{path} has two columns {doubled[0]}.", "Name each parameter once.")
    rows = []
    for number, line in enumerate(lines[1:], 1):
        if len(line) != len(head):
            raise DataError(
                f"{path}: row {number} has {len(line)} cells, and the first line names {len(head)}.",
                "Put text that holds a comma between double quotes.",
            )
        rows.append(dict(zip(head, line, strict=True)))
    return rows


def _bounded(path: Path, text: str) -> Iterator[str]:
    """The lines of a table, as far as a table may go.

    Raises:
        DataError: there are more lines, or more cells in one, than any table of parameters has.
    """
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        if number > _MOST_LINES or line.count(",") > _MOST_COMMAS:
            what = "lines" if number > _MOST_LINES else f"cells in line {number}"
            raise DataError(f"{path} has too many {what} for a table.", "Give one row for each run.")
        yield line


def grid(axes: Mapping[str, Sequence[Any]], table: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Every combination of the values of each parameter, the last one changing fastest.

    table: rows to which the combinations are added.

    Raises:
        UsageError: a parameter is a column of the table as well.
    """
    if both := [name for name in axes if table and name in table[0]]:
        raise UsageError(f"The parameter {both[0]} is given twice.", "Give it with --over or with -p.")
    combinations = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    return [{**row, **more} for row in (table or [{}]) for more in combinations]


def split_values(text: str) -> list[Any]:
    """The values of a word: the elements of a JSON list, or what stands between the commas.

    >>> split_values("256,512"), split_values('["a,b", 3]'), split_values("")
    (['256', '512'], ['a,b', 3], [''])
    """
    if text.startswith("["):
        try:
            values = json.loads(text)
        except ValueError:
            values = None
        if isinstance(values, list) and values:
            return values
    return text.split(",")
