"""Notebooks before they run: where they are, what they are called, which parameters they take."""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType
from typing import Any

from labkit.errors import DataError, UsageError
from labkit.files import read_named, strict_json
from labkit.later import spare_iri_grammar
from labkit.learn.copies import course_folder
from labkit.learn.journal import work_folder

LARGEST_NOTEBOOK = 128 << 20
"""Bytes."""

_FIRST_WITH_IDS = 5
_MARK = b"\xef\xbb\xbf"
_CHAPTER = re.compile(r"\d\d-.+\.ipynb")
_ASSIGNMENT = re.compile(r"^(?:export\s+)?([A-Za-z_]\w*)\s*(?::[^=\n]+)?=(?!=)", re.MULTILINE)

Default = str | int | float | bool | None | list[Any] | dict[str, Any] | EllipsisType
"""The default of a parameter; ``...`` where it is an expression and not a literal."""


@dataclass(frozen=True)
class NotebookSource:
    """A notebook as it lies on the disk.

    name: the file name without its ending, the name of the chapter everywhere.
    title: its first heading, else its name.
    kernel, language: as its metadata say; the language is empty where they do not.
    parameters: what the cell tagged ``parameters`` assigns, with the defaults.
    cells: how many cells it has.
    sha256: of the file's bytes.
    """

    path: Path
    name: str
    title: str
    kernel: str
    language: str
    parameters: dict[str, Default]
    cells: int
    sha256: str


def read_notebook(path: Path) -> Any:
    """Read and validate a version 4 notebook.

    Raises:
        UsageError: there is no such file.
        DataError: the file is not a valid notebook.
    """
    return parse_notebook(path, _read(path))


def load_source(path: Path) -> NotebookSource:
    """Read what can be known of a notebook without running it.

    Raises:
        UsageError: there is no such file.
        DataError: the file is not a valid notebook.
    """
    data = _read(path)
    if data.startswith(_MARK):
        raise DataError(
            f"{path} begins with a byte order mark, which Jupyter does not read.",
            "Save it as UTF-8 without a mark.",
        )
    notebook = parse_notebook(path, data)
    spec = notebook.metadata.get("kernelspec", {})
    info = notebook.metadata.get("language_info", {})
    language = str(spec.get("language") or info.get("name") or "")
    return NotebookSource(
        path=path,
        name=path.stem,
        title=_title(notebook.cells) or path.stem,
        kernel=str(spec.get("name") or "python3"),
        language=language,
        parameters=_parameters(notebook.cells, language or "python"),
        cells=len(notebook.cells),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def notebooks_folder(start: Path) -> Path:
    """The notebooks that belong to ``start``: a learner's copies, a repository's, else those labkit ships."""
    if work := work_folder(start):
        return work
    here = repository(start) or start
    return here / "notebooks" if (here / "notebooks").is_dir() else course_folder()


def repository(start: Path) -> Path | None:
    """The nearest folder at or above ``start`` that holds ``.git``."""
    return next((folder for folder in (start, *start.parents) if (folder / ".git").exists()), None)


def find_notebooks(words: Sequence[str], start: Path) -> list[Path]:
    """Turn what a person typed into files: paths, names, numbers of chapters; nothing means all guided ones.

    The guided chapters are ``NN-*.ipynb`` in the order of their names, then ``flow.ipynb``.

    Raises:
        UsageError: no such notebook, or two of the same name.
    """
    if not words:
        folder = notebooks_folder(start)
        found = sorted(path for path in folder.iterdir() if _CHAPTER.fullmatch(path.name))
        found += [path for path in (folder / "flow.ipynb",) if path.is_file()]
        if not found:
            raise UsageError(f"There is no chapter in {folder}.", "Name the notebooks to run.")
        return found
    paths = [_find(word, start) for word in words]
    for path in paths:
        if [other.stem for other in paths].count(path.stem) > 1:
            raise UsageError(f"Two of the notebooks are called {path.stem}.", "Run them one after the other.")
    return paths


def near(word: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known words, for a remedy."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f"Did you mean {close[0]}?"
    return f"There are: {', '.join(names)}." if names else ""


def _find(word: str, start: Path) -> Path:
    path = start / word
    if path.is_file():
        return path.resolve()
    known = {path.stem: path for path in sorted(notebooks_folder(start).rglob("*.ipynb"))}
    name = word.removesuffix(".ipynb")
    if name in known:
        return known[name].resolve()
    numbered = [stem for stem in known if stem.startswith(f"{name:0>2}-")]
    if re.fullmatch(r"[0-9]{1,2}", name) and len(numbered) == 1:
        return known[numbered[0]].resolve()
    raise UsageError(f"There is no notebook {word}.", near(name, known))


def _read(path: Path) -> bytes:
    if path.is_dir() or not path.exists():
        raise UsageError(f"There is no notebook {path}.", "Check the path.")
    return read_named(path, LARGEST_NOTEBOOK)


def parse_notebook(path: Path, data: bytes) -> Any:
    """A validated version 4 notebook from its bytes; ``path`` is what it is called in errors.

    Raises:
        DataError: it is not a valid notebook.
    """
    spare_iri_grammar()
    import nbformat

    try:
        raw = strict_json(data)
        versions = [raw.get("nbformat"), raw.get("nbformat_minor")] if isinstance(raw, dict) else []
        if [type(number) for number in versions] != [int, int] or versions[0] != 4:
            raise DataError(
                f"{path} is not a notebook of format 4.",
                "Open and save it in JupyterLab, or name another file.",
            )
        with warnings.catch_warnings():
            # Cells without ids are told by nbformat as a warning; they run all the same.
            warnings.simplefilter("ignore")
            cells = raw.get("cells")
            if isinstance(cells, list) and any(isinstance(cell, dict) and "id" in cell for cell in cells):
                # Some programs write ids and keep the number of a format that had none.
                raw["nbformat_minor"] = max(_FIRST_WITH_IDS, raw["nbformat_minor"])
            nbformat.validate(raw)
            notebook = nbformat.reads(json.dumps(raw), as_version=4)
    except (KeyError, TypeError, ValueError, RecursionError, nbformat.ValidationError) as error:
        reason = str(getattr(error, "message", error)).partition("\n")[0]
        if isinstance(error, KeyError | TypeError):  # nbformat looks into cells before it validates them
            reason = "its cells are not as Jupyter writes them"
        raise DataError(
            f"{path} is not a valid notebook: {reason[:200]}.", "Repair it, or name another file."
        ) from None
    return notebook


def _title(cells: Sequence[Any]) -> str:
    for cell in cells:
        if cell.cell_type == "markdown":
            heading = re.search(r"^#+\s+(.+?)\s*#*$", cell.source, re.MULTILINE)
            if heading:
                return heading[1]
    return ""


def _parameters(cells: Sequence[Any], language: str) -> dict[str, Default]:
    for cell in cells:
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", ()):
            return _assignments(cell.source, language)
    return {}


def _assignments(code: str, language: str) -> dict[str, Default]:
    try:
        tree = ast.parse(code) if language == "python" else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is None:
        return dict.fromkeys(_ASSIGNMENT.findall(code), ...)
    found: dict[str, Default] = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(node, ast.Assign | ast.AnnAssign):
                found[target.id] = _literal(node.value)
    return found


def _literal(node: ast.expr | None) -> Default:
    try:
        value = ast.literal_eval(node) if node is not None else ...
    except (ValueError, TypeError, RecursionError, MemoryError):  # such as a list as a key, or far too deep
        return ...
    known = value is None or isinstance(value, str | int | float | bool | list | dict)
    return value if known else ...
