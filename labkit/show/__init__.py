"""Everything a person sees: cleaned text, escaped HTML, inline SVG. The only package that builds markup."""

from __future__ import annotations

from labkit.show import _tdx as tdx
from labkit.show._attest import register_fold, trust_chain
from labkit.show._fields import FieldSpan, field_table, field_view, hex_map, spans
from labkit.show._front_end import Place, is_live, show_view
from labkit.show._html import (
    Markup,
    badge,
    code,
    details,
    element,
    escape,
    join,
    mark,
    page,
    pre,
    prose,
    table,
)
from labkit.show._learn import outcome_view, predictions_view, question_view
from labkit.show._measure import diff_view, event_table, scrolled, section_table
from labkit.show._progress import done_view, progress_view
from labkit.show._recorded import record, recorded
from labkit.show._sanitize import sanitize
from labkit.show._site import Link, chapter_page, run_index, site_page
from labkit.show._stepper import stepper, storyboard
from labkit.show._study import move_table, study_page, study_table, time_bars
from labkit.show._svg import bars
from labkit.show._text import clean, columns, one_line, stamp
from labkit.show._tree import TreeNode, fold, paint, tree_html, tree_text, verdict_html
from labkit.show._verdict import verdict_view
from labkit.show._view import View
from labkit.show._words import everything_page, glossary_page

__all__ = [
    "FieldSpan",
    "Link",
    "Markup",
    "Place",
    "TreeNode",
    "View",
    "badge",
    "bars",
    "chapter_page",
    "clean",
    "code",
    "columns",
    "details",
    "diff_view",
    "done_view",
    "element",
    "escape",
    "event_table",
    "everything_page",
    "field_table",
    "field_view",
    "fold",
    "glossary_page",
    "hex_map",
    "is_live",
    "join",
    "mark",
    "move_table",
    "one_line",
    "outcome_view",
    "page",
    "paint",
    "pre",
    "predictions_view",
    "progress_view",
    "prose",
    "question_view",
    "record",
    "recorded",
    "register_fold",
    "run_index",
    "sanitize",
    "scrolled",
    "section_table",
    "show_view",
    "site_page",
    "spans",
    "stamp",
    "stepper",
    "storyboard",
    "study_page",
    "study_table",
    "table",
    "tdx",
    "time_bars",
    "tree_html",
    "tree_text",
    "trust_chain",
    "verdict_html",
    "verdict_view",
]
