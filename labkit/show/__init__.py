"""Everything a person sees: cleaned text, escaped HTML, inline SVG. The only room that builds markup."""

from __future__ import annotations

from labkit.show import _tdx as tdx
from labkit.show._html import badge, details, element, escape, join, page, pre, table
from labkit.show._stepper import stepper, storyboard
from labkit.show._text import clean, columns, stamp
from labkit.show._view import View

__all__ = [
    "View",
    "badge",
    "clean",
    "columns",
    "details",
    "element",
    "escape",
    "join",
    "page",
    "pre",
    "stamp",
    "stepper",
    "storyboard",
    "table",
    "tdx",
]
