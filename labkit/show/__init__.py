"""Everything a person sees: cleaned text, escaped HTML, inline SVG. The only room that builds markup."""

from __future__ import annotations

from labkit.show._html import badge, details, element, escape, join, page, pre, table
from labkit.show._text import clean, columns, stamp
from labkit.show._tree import TreeNode, fold, paint, tree_html, tree_text, verdict_html

__all__ = [
    "TreeNode",
    "badge",
    "clean",
    "columns",
    "details",
    "element",
    "escape",
    "fold",
    "join",
    "page",
    "paint",
    "pre",
    "stamp",
    "table",
    "tree_html",
    "tree_text",
    "verdict_html",
]
