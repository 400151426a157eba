"""Everything a person sees: cleaned text, escaped HTML, inline SVG. The only room that builds markup."""

from __future__ import annotations

from labkit.show._fields import FieldSpan, field_table, field_view, hex_map
from labkit.show._html import badge, details, element, escape, join, page, pre, table
from labkit.show._measure import diff_view, event_table, section_table
from labkit.show._text import clean, columns, stamp
from labkit.show._verdict import verdict_view

__all__ = [
    "FieldSpan",
    "badge",
    "clean",
    "columns",
    "details",
    "diff_view",
    "element",
    "escape",
    "event_table",
    "field_table",
    "field_view",
    "hex_map",
    "join",
    "page",
    "pre",
    "section_table",
    "stamp",
    "table",
    "verdict_view",
]
