"""A view: one static HTML form and one text form of the same facts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from labkit.show._text import columns
from labkit.show.markup import Markup, prose, table


@dataclass(frozen=True, repr=False)
class View:
    """What a notebook cell shows: HTML where there is a front end, text everywhere else."""

    html: Markup
    text: str

    @classmethod
    def of_table(cls, head: Sequence[str], rows: Iterable[Sequence[object]]) -> View:
        """A table, and its columns as text."""
        listed = list(rows)
        return cls(table(([prose(cell) for cell in row] for row in listed), head), columns([head, *listed]))

    def _repr_html_(self) -> str:
        return str(self.html)

    def __repr__(self) -> str:
        return self.text

    def __str__(self) -> str:
        return self.text
