"""What the chapters say of themselves, for the pages of a run: questions, times, headings, words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from labkit.errors import LabkitError
from labkit.learn.copies import course_folder
from labkit.runs.source import load_source, read_notebook
from labkit.show.site import Link

GLOSSARY = "glossary.html"

_QUESTION = re.compile(r"^\*([^*\n]+\?)\*$", re.MULTILINE)
_TIME = re.compile(r"\*\*Time:\*\* ([^.\n]+)\.")


def described(link: Link, cells: Iterable[Any]) -> Link:
    """The link with the question and the time that a chapter's first cell names."""
    first = next((cell.source for cell in cells if cell.cell_type == "markdown"), "")
    question, minutes = _QUESTION.search(first), _TIME.search(first)
    return Link(link.href, link.text, question[1] if question else "", minutes[1] if minutes else "")


def others(run: Sequence[str]) -> list[Link]:
    """The chapters that labkit ships and that a run of the course left out."""
    found = []
    for path in sorted(course_folder().glob("*.ipynb")):
        if path.stem not in run:
            try:
                source, cells = load_source(path), read_notebook(path).cells
            except LabkitError:
                continue
            found.append(described(Link("", f"{source.title} ({path.stem})"), cells))
    return found


def words(glossary: Path) -> list[tuple[str, str, str]]:
    """The glossary as (anchor, word, explanation); nothing where there is no such file."""
    try:
        text = glossary.read_text(encoding="utf-8")
    except OSError:
        return []
    parts = re.split(r"^## +(.+)$", text, flags=re.MULTILINE)[1:]
    return [
        (re.sub(r"[^\w -]", "", word).strip().lower().replace(" ", "-"), word.strip(), body.strip())
        for word, body in zip(parts[::2], parts[1::2], strict=True)
    ]
