"""Everything a person sees: cleaned text, escaped HTML, inline SVG. The only room that builds markup."""

from __future__ import annotations

from labkit.show._html import badge, details, element, escape, join, page, pre, table
from labkit.show._measure import event_table, section_table
from labkit.show._site import Link, chapter_page, run_index
from labkit.show._svg import bars
from labkit.show._text import clean, columns, stamp

__all__ = [
    "Link",
    "badge",
    "bars",
    "chapter_page",
    "clean",
    "columns",
    "details",
    "element",
    "escape",
    "event_table",
    "join",
    "page",
    "pre",
    "run_index",
    "section_table",
    "stamp",
    "table",
]
