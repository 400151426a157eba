"""Escaped HTML fragments. Text becomes markup here and nowhere else."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from labkit.settings import Trust
from labkit.show._text import clean
from labkit.show.colours import STAMP

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; vertical-align: top; }
code, pre { font-family: ui-monospace, monospace; font-size: .875em; } pre { overflow-x: auto; }
"""


_VOID = ("img", "br", "hr")
_CELL = "text-align:left;vertical-align:top"


class Markup(str):
    """Text that is markup already; everything else is escaped when it is put into an element."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)


def escape(text: object) -> Markup:
    """Make any text safe inside an element or a quoted attribute; markup passes unchanged."""
    return text if isinstance(text, Markup) else Markup(html.escape(clean(str(text)), quote=True))


def join(parts: Iterable[object]) -> Markup:
    """Put fragments side by side, escaping those that are not markup."""
    return Markup("".join(escape(part) for part in parts))


def element(name: str, *children: object, **attributes: object) -> Markup:
    """Build one element; ``class_`` stands for ``class``, underscores for hyphens."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items()
    )
    return Markup(f"<{name}{words}/>" if name in _VOID else f"<{name}{words}>{join(children)}</{name}>")


def pre(text: str) -> Markup:
    """Preformatted, escaped text; long lines are broken, between words where there are some."""
    # JupyterLab breaks inside of words.
    style = "white-space:pre-wrap;overflow-wrap:anywhere;word-break:normal;margin:.3em 0;padding:0"
    return element("pre", text, style=style)


def code(text: object) -> Markup:
    """A value in a fixed-width face, broken anywhere, so that a long digest pushes nothing out of sight."""
    return element("code", text, style="white-space:pre-wrap;word-break:break-all")


def prose(text: object) -> Markup:
    """A sentence in which words between backticks are code; markup passes unchanged."""
    if isinstance(text, Markup):
        return text
    # Every second piece stood between two backticks; one that is left alone stays as it is.
    *pieces, last = re.split(r"`([^`\n]+)`", str(text))
    pairs = zip(pieces[::2], pieces[1::2], strict=True)
    return join([*(join([plain, element("code", word)]) for plain, word in pairs), last])


def table_row(cells: Iterable[object], name: str = "td", **attributes: object) -> Markup:
    """A row of a table. JupyterLab aligns cells to the right unless each says otherwise."""
    return element("tr", *(element(name, cell, style=_CELL) for cell in cells), **attributes)


def table_of(rows: Iterable[Markup]) -> Markup:
    """A table of finished rows, at the left, which scrolls where there is no room."""
    return element("div", element("table", *rows, style="margin-left:0"), style="overflow-x:auto")


def table(rows: Iterable[Sequence[object]], head: Sequence[object] = ()) -> Markup:
    """A table of escaped cells."""
    return table_of([*([table_row(head, "th")] if head else []), *(table_row(row) for row in rows)])


def details(summary: object, *body: object) -> Markup:
    """A summary that folds out."""
    return element("details", element("summary", summary), *body)


def badge(trust: Trust) -> Markup:
    """The EMULATED stamp; nothing for hardware."""
    return mark(trust.stamp) if trust.stamp else Markup()


def mark(word: str) -> Markup:
    """A stamp: a word that qualifies what stands beside it."""
    style = f"background:{STAMP};color:#fff;border-radius:.3em;padding:.1em .5em;font:bold .8em sans-serif"
    return element("span", word, style=style)


def page(title: str, *body: object) -> Markup:
    """A whole document that needs nothing from the network."""
    head = element(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width">'),
        element("title", title),
        Markup(f"<style>{_STYLE}</style>"),
    )
    return Markup(f"<!doctype html>\n{element('html', head, element('body', *body), lang='en')}\n")
