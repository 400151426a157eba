"""Views of measurements: tables whose digests stand in a fixed-width face."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from labkit.show.markup import Markup, code, element, join, table, table_of, table_row

_SHORT = 12  # rows that need no box
_HEX = re.compile(r"(?:0x)?[0-9a-f]{3,}(?:…|\+0x[0-9a-f]+)?\Z")


def section_table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> Markup:
    """A table in which hexadecimal cells are code."""
    return table(([_cell(cell) for cell in row] for row in rows), head)


def event_table(head: Sequence[object], rows: Iterable[Sequence[object]], legend: str = "") -> Markup:
    """A long table of events in a box that scrolls and says so; on paper it is whole.

    legend: what the marks in it mean.
    """
    listed = list(rows)
    body = section_table(head, listed)
    long = f"{len(listed)} rows: scroll to see all of them." if len(listed) > _SHORT else ""
    notes = [element("div", element("small", words)) for words in (long, legend) if words]
    return join([*notes, scrolled(body) if long else body])


def scrolled(body: object) -> Markup:
    """A long thing in a box that shows that it scrolls."""
    frame = "max-height:32em;overflow-y:scroll;border:1px solid #8c959f;border-radius:4px;padding:0 .5em"
    return element("div", body, class_="labkit-scroll", style=frame)


def _cell(cell: object) -> object:
    if not _HEX.match(str(cell)):
        return cell
    # What was cut short already has room for itself.
    return element("code", cell, style="white-space:nowrap") if str(cell).endswith("…") else code(cell)


def diff_view(
    headline: str, head: Sequence[object], rows: Sequence[Sequence[object]], marks: Sequence[str]
) -> Markup:
    """Two columns, expected and found, each row tinted by its mark: differs, missing or extra."""
    tints = {"differs": "0 80% 50% / .18", "missing": "35 90% 50% / .2", "extra": "210 80% 50% / .18"}
    body = [table_row(head, "th")]
    for row, mark in zip(rows, marks, strict=True):
        style = f"background:hsl({tints[mark]})" if mark in tints else ""
        body.append(table_row((_cell(cell) for cell in row), style=style))
    return join([element("p", element("b", headline)), table_of(body)])
