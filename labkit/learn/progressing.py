"""How far a learner is: the predictions of every chapter of a folder, made or not."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import UsageError
from labkit.learn.journal import JOURNAL, MARK, PredictionEntry, fold, read_lines, work_folder
from labkit.learn.question import Judged
from labkit.settings import Settings
from labkit.show import columns


@dataclass(frozen=True)
class ChapterProgress:
    """One chapter: its questions, how many were answered, and how many rightly."""

    name: str
    entries: tuple[PredictionEntry, ...]

    @property
    def made(self) -> int:
        """How many predictions were made."""
        return sum(1 for entry in self.entries if entry.answer is not None)

    @property
    def right(self) -> int:
        """How many came out as predicted."""
        return sum(1 for entry in self.entries if entry.judged is Judged.RIGHT)

    def to_dict(self) -> dict[str, Any]:
        """The chapter as plain data."""
        return {
            "chapter": self.name,
            "questions": len(self.entries),
            "made": self.made,
            "right": self.right,
            "predictions": [entry.to_dict() for entry in self.entries],
        }


@dataclass(frozen=True)
class Progress:
    """A learner's predictions, chapter by chapter. journal: where they are kept."""

    journal: Path
    chapters: tuple[ChapterProgress, ...]

    def to_dict(self) -> dict[str, Any]:
        """The progress as plain data."""
        return {
            "journal": str(self.journal),
            "questions": sum(len(chapter.entries) for chapter in self.chapters),
            "made": sum(chapter.made for chapter in self.chapters),
            "right": sum(chapter.right for chapter in self.chapters),
            "chapters": [chapter.to_dict() for chapter in self.chapters],
        }

    def __str__(self) -> str:
        rows = [("chapter", "predicted", "right", "next question")]
        for chapter in self.chapters:
            left = next((entry.question for entry in chapter.entries if entry.answer is None), "")
            made = f"{chapter.made} of {len(chapter.entries)}"
            rows.append((chapter.name, made, str(chapter.right), left))
        return columns(rows)


def progress(folder: Path, notebooks: Path, settings: Settings) -> Progress:
    """The predictions made in ``folder``, of all that its notebooks ask; ``notebooks`` where it has none.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.", "Make one with `labkit notebooks copy DIR`.")
    work = work_folder(folder.resolve())
    journal = (work / MARK if work else settings.state_dir / "learner") / JOURNAL
    known = fold(read_lines(journal))
    found = sorted((work or notebooks).glob("*.ipynb"))
    chapters = []
    for path in found:
        entries = tuple(
            known.pop(id, PredictionEntry(id, text, None, None, Judged.NONE))
            for id, text in questions(path)  # noqa: A001
        )
        if entries:
            chapters.append(ChapterProgress(path.stem, entries))
    if known:
        chapters.append(ChapterProgress("elsewhere", tuple(known.values())))
    return Progress(journal, tuple(chapters))


def questions(notebook: Path) -> list[tuple[str, str]]:
    """The ids and texts of the predictions that a notebook asks for; an unreadable one asks none."""
    try:
        cells = json.loads(notebook.read_bytes())["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    found: dict[str, str] = {}
    for source in sources:
        for id, text in _calls(source):  # noqa: A001
            found.setdefault(id, text)
    return list(found.items())


def _calls(source: str) -> Iterator[tuple[str, str]]:
    magic = re.match(r"\s*%predict\s+(\S+)\s+([^\n|]*)", source)
    if magic:
        yield magic[1], magic[2].strip()
        return
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # NUL, or nested far too deep
        return
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "predict"
        ):
            words = [item.value for item in node.args[:2] if isinstance(item, ast.Constant)]
            if len(words) == 2 and all(isinstance(word, str) for word in words):
                yield str(words[0]), str(words[1])
