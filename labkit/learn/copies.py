"""A learner's folder: copies of the notebooks without outputs, beside a record of what was copied."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labkit import __version__
from labkit.errors import StorageError, UsageError
from labkit.files import from_home, left_by_others, write_whole
from labkit.later import spare_iri_grammar
from labkit.learn.journal import MARK

FIRST = "00-start-here.ipynb"
"""The notebook to open first."""

_RECORD = "work.json"
_KEPT = "kept"
# nbgrader's marks, and the words that it puts in their place.
_SOLUTION = re.compile(r"(?ms)^### BEGIN SOLUTION$.*?^### END SOLUTION$")
_HIDDEN = re.compile(r"(?ms)^### BEGIN HIDDEN TESTS$.*?^### END HIDDEN TESTS$")
_STUB = "# YOUR CODE HERE"
_LEFT_OUT = ("__pycache__", ".ipynb_checkpoints")


@dataclass(frozen=True)
class Copied:
    """What came of a copy: files written, files that were there and stay as they are."""

    folder: Path
    written: tuple[str, ...]
    there: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields under their names."""
        return {
            "folder": str(self.folder),
            "written": list(self.written),
            "there": list(self.there),
            "first": str(self.folder / FIRST),
        }

    def __str__(self) -> str:
        there = f"; {len(self.there)} were there and stay as they are" if self.there else ""
        lines = [f"{len(self.written)} files copied to {self.folder}{there}."]
        lines.append(f"Open them:  labkit notebooks open {self.folder}")
        lines.append(f"Or run one: labkit run {self.folder / FIRST}")
        return "\n".join(lines)


def course_folder() -> Path:
    """Where the notebooks are that labkit ships."""
    return Path(__file__).resolve().parent / "notebooks"


def sanitize_file() -> Path:
    """The nbval sanitize file that labkit ships; it serves other people's notebooks as well."""
    return Path(__file__).resolve().parent / "sanitize.cfg"


def _is_new(folder: Path) -> bool:
    """Nothing is in the folder but what a file manager left there."""
    return all(left_by_others(entry.name) for entry in folder.iterdir())


def copy(folder: Path) -> Copied:
    """Make or complete a learner's folder; what is there already is never touched.

    Raises:
        UsageError: the folder has other things in it.
        StorageError: it cannot be written.
    """
    folder = from_home(folder).absolute()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.", "Name a new folder, or an empty one.")
    if folder.is_dir() and not _is_new(folder) and not (folder / MARK).is_dir():
        raise UsageError(
            f"{folder} is not empty, and no earlier copy of labkit's notebooks.", "Name a new folder."
        )
    with _storing(folder):
        (folder / MARK).mkdir(parents=True, exist_ok=True)
        written, there = [], []
        for name, source in _files():
            if (folder / name).exists():
                there.append(name)
            else:
                _write(source, folder / name)
                written.append(name)
        record = {"labkit": __version__, "first": FIRST, "files": dict(_digests(folder, written))}
        _record(folder, record)
    return Copied(folder, tuple(written), tuple(there))


def reset(folder: Path, name: str | None = None) -> Copied:
    """Put fresh copies in the place of one notebook or of all; what was changed is kept aside.

    Raises:
        UsageError: the folder is not a learner's folder, or there is no such notebook.
        StorageError: it cannot be written.
    """
    folder = from_home(folder).absolute()
    if not (folder / MARK).is_dir():
        raise UsageError(
            f"{folder} is not a copy of labkit's notebooks.", "Make one: labkit notebooks copy DIR."
        )
    known = dict(_files())
    names = list(known)
    if name is not None:
        names = [word for word in (name, f"{name}.ipynb") if word in known][:1]
        if not names:
            raise UsageError(f"There is no notebook {name}.", f"There are: {', '.join(_stems(known))}.")
    written, there = [], []
    aside = folder / MARK / _KEPT / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    with _storing(folder):
        for word in names:
            place = folder / word
            if place.exists() and place.read_bytes() == fresh(known[word]):
                there.append(word)
                continue
            if place.exists():
                (aside / word).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(place, aside / word)
            _write(known[word], place)
            written.append(word)
    return Copied(folder, tuple(written), tuple(there))


def fresh(source: Path) -> bytes:
    """A file as a learner gets it: a notebook without outputs, counts and solutions; anything else as is."""
    data = source.read_bytes()
    if source.suffix != ".ipynb":
        return data
    document = json.loads(data)
    for cell in document["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
            words = _HIDDEN.sub("", _SOLUTION.sub(_STUB, "".join(cell["source"])))
            cell["source"] = words.rstrip("\n").splitlines(keepends=True)
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _files() -> Iterator[tuple[str, Path]]:
    """Every file that is copied, by its name below the folder."""
    root = course_folder()
    for path in sorted(root.rglob("*")):
        if path.is_file() and not any(part in _LEFT_OUT for part in path.parts):
            yield str(path.relative_to(root)), path


def _stems(names: dict[str, Path]) -> list[str]:
    return [name.removesuffix(".ipynb") for name in names if name.endswith(".ipynb")]


def _write(source: Path, place: Path) -> None:
    write_whole(place, fresh(source))
    if place.suffix == ".ipynb":
        _sign(place)


def _sign(place: Path) -> None:
    """Have Jupyter trust a copy; where it keeps no signatures, it will ask."""
    spare_iri_grammar()
    import nbformat
    from nbformat.sign import NotebookNotary

    with contextlib.suppress(Exception):
        notary = NotebookNotary()
        with contextlib.closing(notary.store):
            notary.sign(nbformat.read(place, as_version=4))


def _digests(folder: Path, names: list[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        yield name, hashlib.sha256((folder / name).read_bytes()).hexdigest()


def _record(folder: Path, record: dict[str, Any]) -> None:
    file = folder / MARK / _RECORD
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        record["files"] = {**json.loads(file.read_bytes())["files"], **record["files"]}
    file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _storing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written: {error.strerror or error}.", "Name another folder."
        ) from error
