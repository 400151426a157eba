"""Everything a person sees: cleaned text, escaped HTML, inline SVG. The only room that builds markup."""

from __future__ import annotations

from labkit.show._html import badge, details, element, escape, join, page, pre, table
from labkit.show._site import Link, chapter_page, run_index
from labkit.show._text import clean, columns, stamp

__all__ = [
    "Link",
    "badge",
    "chapter_page",
    "clean",
    "columns",
    "details",
    "element",
    "escape",
    "join",
    "page",
    "pre",
    "run_index",
    "stamp",
    "table",
]
