"""An exercise's notebook: as the author wrote it, as a student gets it, and as it came back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import labkit
from labkit.course._given import given_json
from labkit.errors import DataError, MissingComponent
from labkit.files import write_whole
from labkit.later import spare_iri_grammar

_STUB = {"python": "# YOUR CODE HERE", "bash": "# YOUR CODE HERE"}
_LARGEST = 4 << 20


def source_path(name: str) -> Path:
    """Where the notebook of an exercise is.

    Raises:
        MissingComponent: this installation has no notebooks.
    """
    path = Path(labkit.__file__).parents[1] / "notebooks" / "exercises" / f"{name}.ipynb"
    if not path.is_file():
        raise MissingComponent(
            f"The notebook of {name} is not there: {path}.",
            "Run labkit from its repository; the notebooks are part of it.",
        )
    return path


def student_notebook(name: str, folder: Path, solutions: bool = False) -> bytes:
    """The notebook for students, or with its solutions; made once for each version of it, kept in ``folder``.

    Raises:
        MissingComponent: nbgrader or the notebook is not installed.
        DataError: the notebook is not nbgrader's.
        OSError: the folder cannot be written.
    """
    digest = hashlib.sha256(source_path(name).read_bytes()).hexdigest()[:16]
    kept = folder / f"{name}-{digest}{'-solutions' if solutions else ''}.ipynb"
    if not kept.is_file():
        write_whole(kept, make_notebook(name, solutions))
    return kept.read_bytes()


def released_versions(name: str, folder: Path) -> tuple[Returned, ...]:
    """The released notebooks that ``folder`` keeps, today's first.

    A course goes on when labkit is upgraded, and students keep the notebooks that they were given.

    Raises:
        As ``student_notebook``.
    """
    today = student_notebook(name, folder)
    kept = sorted(folder.glob(f"{name}-{'[0-9a-f]' * 16}.ipynb"))
    return tuple(map(Returned, dict.fromkeys([today, *(path.read_bytes() for path in kept)])))


def released_as(versions: Sequence[Returned], returned: bytes | None) -> bytes:
    """The version that a returned notebook was made from; today's where none fits."""
    found = Returned(returned) if returned else versions[0]
    return next((version for version in versions if not found.edited(version)), versions[0]).data


def make_notebook(name: str, solutions: bool = False) -> bytes:
    """The notebook as nbgrader would release it: no solutions, no hidden tests, no outputs, cells locked.

    solutions: keep the solutions.

    Raises:
        MissingComponent: nbgrader or the notebook is not installed.
        DataError: the notebook is not nbgrader's.
    """
    spare_iri_grammar()
    try:
        import nbformat
        from nbconvert.exporters.exporter import ResourcesDict
        from nbgrader import preprocessors
        from traitlets.config import Config
    except ImportError as error:
        raise MissingComponent(
            "nbgrader is not installed; assignments are made with it.", "Run: pip install 'labkit[teach]'"
        ) from error
    notebook = nbformat.read(source_path(name), as_version=4)
    resources = ResourcesDict()
    resources["unique_key"] = name
    settings = Config()
    settings.ClearSolutions.code_stub = _STUB
    steps = [preprocessors.LockCells]
    steps += [] if solutions else [preprocessors.ClearSolutions]
    steps += [preprocessors.ClearOutput, preprocessors.CheckCellMetadata]
    steps += [preprocessors.ClearHiddenTests, preprocessors.ComputeChecksums]
    for step in steps:
        try:
            notebook, resources = step(config=settings, parent=None).preprocess(notebook, resources)
        except (RuntimeError, ValueError) as error:
            raise DataError(
                f"The notebook of {name} is not nbgrader's: {error}", "Mend its cells."
            ) from error
    return str(nbformat.writes(notebook)).encode()


@dataclass(frozen=True)
class Returned:
    """A notebook out of a submission; read with care, executed by nobody here."""

    data: bytes

    @cached_property
    def cells(self) -> list[dict[str, Any]]:
        """Its cells; empty where it is not a notebook."""
        if len(self.data) > _LARGEST:
            return []
        try:
            document = given_json(self.data, strict=False)
            return [cell for cell in document["cells"] if isinstance(cell, dict)]
        except (ValueError, KeyError, TypeError):
            return []

    @property
    def code(self) -> list[str]:
        """The sources of its code cells."""
        return [_source(cell) for cell in self.cells if cell.get("cell_type") == "code"]

    @cached_property
    def grade_cells(self) -> dict[str, str]:
        """Of every cell with points, by its id: points and source as one digest."""
        found = {}
        for cell in self.cells:
            about = _metadata(cell)
            if about.get("grade") is True:
                text = json.dumps([about.get("points"), about.get("locked"), _source(cell)])
                found[str(about.get("grade_id"))] = hashlib.sha256(text.encode()).hexdigest()
        return found

    def differs_from(self, released: Returned) -> bool:
        """Its code is not that of the released notebook: the student wrote something."""
        return self.code != released.code

    def edited(self, released: Returned) -> bool:
        """A cell with points is not as it was released."""
        return bool(self.cells) and self.grade_cells != released.grade_cells


def _source(cell: dict[str, Any]) -> str:
    source = cell.get("source", "")
    text = "".join(map(str, source)) if isinstance(source, list) else str(source)
    return text.strip()


def _metadata(cell: dict[str, Any]) -> dict[str, Any]:
    metadata = cell.get("metadata")
    about = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return about if isinstance(about, dict) else {}
