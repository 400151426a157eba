"""Executes committed notebooks in place, so that nothing changes in them but results that changed.

What varies from run to run is left out (times, versions of the language) or kept as it was: an output
that equals the committed one after the patterns of the nbval sanitize file is the committed one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import ChapterFailed
from labkit.files import write_whole
from labkit.later import spare_iri_grammar
from labkit.process import scratch_folder
from labkit.runs.guarded import execute_guarded
from labkit.runs.runner import CELL_TIMEOUT, check_kernels
from labkit.runs.source import load_source, read_notebook
from labkit.settings import check_seconds

_LANGUAGE = ("name", "file_extension", "mimetype", "pygments_lexer")
# What nbval does not compare: the rest of an output is.
_NOT_COMPARED = ("metadata", "execution_count", "traceback")

Patterns = Sequence[tuple[re.Pattern[str], str]]


@dataclass(frozen=True)
class Refreshed:
    """A notebook that was executed in place; ``changed`` tells whether its file is another now."""

    path: Path
    changed: bool

    def to_dict(self) -> dict[str, Any]:
        """The fields under their names."""
        return {"path": str(self.path), "changed": self.changed}

    def __str__(self) -> str:
        return f"{self.path.stem}  {'changed' if self.changed else 'unchanged'}"


def read_patterns(text: str) -> Patterns:
    """The patterns of an nbval sanitize file: ``regex:`` and ``replace:`` on lines that follow each other."""
    pairs = re.findall(r"^regex: (.*)$\n^replace: (.*)$", text, flags=re.MULTILINE)
    return [(re.compile(pattern), replacement) for pattern, replacement in pairs]


def refresh(path: Path, patterns: Patterns = (), *, timeout: float = CELL_TIMEOUT) -> Refreshed:
    """Execute a notebook in place with the defaults of its parameters.

    timeout: seconds a cell may take.

    Raises:
        ChapterFailed: a cell failed; the file is as it was.
        UsageError, DataError, MissingComponent: no notebook, a damaged one, or no kernel for it.
    """
    check_seconds(timeout)
    source = load_source(path)
    check_kernels([source])
    with scratch_folder("labkit-refresh-") as folder:
        output = folder / path.name
        outcome, _ = execute_guarded(source, {}, output, log=folder / "log", scratch=folder, timeout=timeout)
        if outcome.failure is not None:
            raise ChapterFailed(
                f"{path} failed: {str(outcome.failure).rstrip('.')}.",
                "The file is as it was; repair the cell and try again.",
            )
        executed = read_notebook(output)
    before = path.read_text(encoding="utf-8")
    after = _text(settle(read_notebook(path), executed, patterns))
    if after != before:
        write_whole(path, after.encode())
    return Refreshed(path, after != before)


def settle(committed: Any, executed: Any, patterns: Patterns = ()) -> Any:
    """The committed notebook with the outputs of the executed one, and nothing that varies.

    Code cells are counted from 1 in order; cells without an id get one by their place.
    """
    committed.nbformat_minor = max(committed.nbformat_minor, 5)
    committed.metadata.pop("papermill", None)
    info = executed.metadata.get("language_info", {})
    committed.metadata["language_info"] = {key: info[key] for key in _LANGUAGE if key in info}
    count = 0
    for number, (cell, fresh) in enumerate(zip(committed.cells, executed.cells, strict=True), 1):
        cell.setdefault("id", f"cell-{number}")
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if cell.cell_type != "code":
            continue
        if not cell.source.strip():
            cell.outputs, cell.execution_count = [], None
            continue
        count += 1
        if _comparable(cell.outputs, patterns) != _comparable(fresh.outputs, patterns):
            cell.outputs = fresh.outputs
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    return committed


def _comparable(value: Any, patterns: Patterns) -> Any:
    """The part of outputs that nbval compares, with every text sanitized."""
    if isinstance(value, str):
        for pattern, replacement in patterns:
            value = pattern.sub(replacement, value)
        return value
    if isinstance(value, Mapping):
        return {key: _comparable(item, patterns) for key, item in value.items() if key not in _NOT_COMPARED}
    if isinstance(value, list):
        return [_comparable(item, patterns) for item in value]
    return value


def _text(notebook: Any) -> str:
    spare_iri_grammar()
    import nbformat

    return str(nbformat.writes(notebook)).rstrip("\n") + "\n"
