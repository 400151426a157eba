"""A view: one static HTML form and one text form of the same facts."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.show._html import Markup


@dataclass(frozen=True, repr=False)
class View:
    """What a notebook cell shows: HTML where there is a front end, text everywhere else."""

    html: Markup
    text: str

    def _repr_html_(self) -> str:
        return str(self.html)

    def __repr__(self) -> str:
        return self.text

    def __str__(self) -> str:
        return self.text
