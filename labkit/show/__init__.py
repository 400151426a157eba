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
from labkit.show import tdx
from labkit.show._stepper import stepper
from labkit.show._text import clean, columns, one_line, stamp
from labkit.show._view import View
from labkit.show.markup import Markup, badge, element, escape, join, pre, table

__all__ = [
    "Markup",
    "View",
    "badge",
    "clean",
    "columns",
    "element",
    "escape",
    "join",
    "one_line",
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
    "table",
    "tdx",
]
