"""Views of measurements: tables whose digests stand in a fixed-width face."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from labkit.show._html import Markup, element, table

_HEX = re.compile(r"(?:0x)?[0-9a-f]{3,}(?:…|\+0x[0-9a-f]+)?\Z")


def section_table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> Markup:
    """A table in which hexadecimal cells are code."""
    return table(([_cell(cell) for cell in row] for row in rows), head)


def event_table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> Markup:
    """A long table of events in a box that scrolls."""
    return element("div", section_table(head, rows), style="max-height:32em;overflow:auto")


def _cell(cell: object) -> object:
    return element("code", cell) if _HEX.match(str(cell)) else cell
