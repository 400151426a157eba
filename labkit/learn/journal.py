"""What a learner predicted and what came out, a line each in a file that is only added to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labkit.errors import StorageError, UsageError
from labkit.learn.question import Answer, Judged, PredictionQuestion
from labkit.settings import Settings

MARK = ".labkit"
"""The folder that makes a folder a learner's."""

JOURNAL = "predictions.jsonl"

_LARGEST = 16 << 20


@dataclass(frozen=True)
class PredictionEntry:
    """The last word on one question: what was asked, answered (as shown), found, and judged."""

    id: str
    question: str
    answer: str | None
    outcome: str | None
    judged: Judged

    def to_dict(self) -> dict[str, Any]:
        """The fields under their names."""
        return {
            "id": self.id,
            "question": self.question,
            "answer": self.answer,
            "outcome": self.outcome,
            "judged": self.judged.value,
        }


def work_folder(start: Path) -> Path | None:
    """The learner's folder at or above ``start``."""
    return next((folder for folder in (start, *start.parents) if (folder / MARK).is_dir()), None)


def journal_file(start: Path, settings: Settings) -> Path:
    """Where predictions made in ``start`` are kept: in the learner's folder, else in labkit's own."""
    folder = work_folder(start)
    return (folder / MARK if folder else settings.state_dir / "learner") / JOURNAL


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a journal; what is not a line of it is passed over. No file is an empty journal."""
    try:
        if not file.is_file():
            return []
        with file.open("rb") as stream:
            data = stream.read(_LARGEST)
    except OSError:
        return []
    lines = []
    for raw in data.splitlines():
        try:
            line = json.loads(raw)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and isinstance(line.get("id"), str):
            lines.append(line)
    return lines


def append(file: Path, line: dict[str, Any]) -> None:
    """Add one line, whole, whoever else adds to the file.

    Raises:
        StorageError: it cannot be written.
    """
    line = {**line, "time": datetime.now(UTC).isoformat(timespec="seconds")}
    data = (json.dumps(line, ensure_ascii=False) + "\n").encode()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, data)
        finally:
            os.close(handle)
    except OSError as error:
        raise StorageError(
            f"The prediction was not kept: {file} cannot be written ({error.strerror}).",
            "Free some space, or make the folder writable, and answer again.",
        ) from error


def fold(lines: Iterable[dict[str, Any]]) -> dict[str, PredictionEntry]:
    """The last word on each question, in the order in which they were first met."""
    entries: dict[str, PredictionEntry] = {}
    for line in lines:
        old = entries.get(line["id"])
        answer = _text(line, "answer", old.answer if old else None)
        outcome = _text(line, "outcome", old.outcome if old else None)
        known = next((word for word in Judged if word.value == line.get("judged")), Judged.NONE)
        if "answer" in line and "outcome" not in line:
            outcome, known = None, Judged.OPEN  # a new answer waits for its outcome
        question = str(line.get("question") or (old.question if old else ""))
        entries[line["id"]] = PredictionEntry(line["id"], question, answer, outcome, known)
    return entries


def last_answer(file: Path, question: PredictionQuestion) -> Answer | None:
    """What was answered last; None where nothing was, or where the question has changed since."""
    found = None
    for line in read_lines(file):
        if line["id"] == question.id and "raw" in line:
            found = line["raw"]
    if found is None:
        return None
    try:
        return question.read(found)
    except UsageError:
        return None


def _text(line: dict[str, Any], key: str, otherwise: str | None) -> str | None:
    return str(line[key]) if line.get(key) is not None else otherwise
