"""From what a person typed to a design and the folder that it belongs in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labkit.errors import UsageError
from labkit.files import from_home
from labkit.runs.runner import check_kernels
from labkit.runs.source import find_notebooks, load_source, repository
from labkit.studies.table import Design, design, grid, read_table, split_values


def plan(
    notebook: str,
    table: Path | Sequence[Mapping[str, Any]] | None = None,
    axes: Iterable[tuple[str, str]] | Mapping[str, Sequence[Any]] = (),
    output: Path | None = None,
    start: Path | None = None,
) -> tuple[Design, Path]:
    """Check a request to sweep; writes nothing.

    notebook: a path or the name of a chapter. table: a CSV file, or rows. axes: values of parameters, of
    which every combination is run; a word is split at its commas.
    output: the sweep's folder; by default one that the design itself names, so that the same request goes on.

    Raises:
        UsageError: there is no such notebook or parameter, or nothing to run.
        DataError: the table or the notebook is damaged.
        MissingComponent: the notebook's kernel is not installed.
    """
    here = (start or Path.cwd()).resolve()
    source = load_source(find_notebooks([notebook], here)[0])
    check_kernels([source])
    rows = read_table(here / table) if isinstance(table, Path) else [dict(row) for row in table or ()]
    if table is not None and not rows:
        raise UsageError(
            "The table has no row.", "Its first line names the parameters, each other line is a run."
        )
    named = _axes(axes)
    made = design(source, grid(named, rows) if named else rows)
    if output is not None:
        return made, (here / from_home(output)).absolute()
    name = hashlib.sha256(" ".join([source.name, *(row.key for row in made.rows)]).encode()).hexdigest()[:12]
    return made, (repository(here) or here) / "runs" / f"sweep-{source.name}-{name}"


def _axes(axes: Iterable[tuple[str, str]] | Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    if isinstance(axes, Mapping):
        return {name: list(values) for name, values in axes.items()}
    found: dict[str, list[Any]] = {}
    for name, words in axes:
        if name in found:
            raise UsageError(f"The parameter {name} is given twice.", "Put its values into one -p.")
        found[name] = split_values(words)
    return found
