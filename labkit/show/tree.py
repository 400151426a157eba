"""A tree of outcomes: coloured text for terminals, folding HTML for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from labkit.show._colours import BAD, DIM, GOOD, UNSURE
from labkit.show._text import clean
from labkit.show.markup import Markup, code, details, element, join, prose

_MARKS = {"PASS": "✔", "FAIL": "✘", "UNKNOWN": "?", "SKIP": "–"}
# SGR colours for a terminal, and the page's own colour names.
_ANSI = {"PASS": "32", "FAIL": "31", "UNKNOWN": "33", "SKIP": "2", "READY": "32", "NOT_READY": "31"}
_CSS = {"PASS": GOOD, "FAIL": BAD, "UNKNOWN": UNSURE, "SKIP": DIM}
_CSS |= {"READY": _CSS["PASS"], "NOT_READY": _CSS["FAIL"], "INDETERMINATE": _CSS["UNKNOWN"]}


@dataclass(frozen=True)
class TreeNode:
    """One outcome of a tree.

    status: PASS, FAIL, UNKNOWN or SKIP.
    lines: what stands below the title in text; in HTML it stands in the part that folds out.
    rows: pairs that fold out in HTML only (evidence).
    open: the part that folds out is open at first.
    """

    status: str
    title: str
    lines: tuple[str, ...] = ()
    rows: tuple[tuple[str, str], ...] = ()
    children: tuple[TreeNode, ...] = ()
    open: bool = False


def paint(text: str, word: str, color: bool) -> str:
    """``text`` in the terminal colour of an outcome or verdict; unchanged without colour."""
    return f"\x1b[{_ANSI.get(word, '33')}m{text}\x1b[0m" if color else text


def tree_text(nodes: Sequence[TreeNode], color: bool = False) -> str:
    """The tree as lines of text; untrusted parts are cleaned and each stays on its line."""
    return "\n".join(_lines(nodes, color, ""))


def _lines(nodes: Sequence[TreeNode], color: bool, indent: str) -> Iterator[str]:
    for node in nodes:
        last = node is nodes[-1]
        title = f"{_MARKS.get(node.status, '?')} {_line(node.title)}"
        yield f"{indent}{'└─' if last else '├─'} {paint(title, node.status, color)}"
        deeper = f"{indent}{'   ' if last else '│  '}"
        bar = f"{deeper}{'│' if node.children else ' '}   "
        for line in node.lines:
            yield f"{bar}{paint(_line(line), 'SKIP', color and node.status == 'SKIP')}"
        yield from _lines(node.children, color, deeper)


def _line(text: str) -> str:
    return " ".join(clean(text).split())


def tree_html(nodes: Iterable[TreeNode]) -> Markup:
    """The tree as nested lists whose evidence folds out; everything is escaped."""
    items = []
    for node in nodes:
        mark = element(
            "span",
            _MARKS.get(node.status, "?"),
            style=f"color:{_CSS.get(node.status, UNSURE)};font-weight:bold",
        )
        title = join((mark, " ", node.title, " ", element("small", node.status)))
        body = [element("div", prose(line)) for line in node.lines]
        if node.rows:
            # No table: beside a long path there is no room for a value on a phone.
            rows = (element("div", source, ": ", code(value)) for source, value in node.rows)
            body.append(element("div", *rows, style="font-size:.9em;margin-left:1em"))
        head: Markup = title
        if body:
            head = element("details", element("summary", title), *body, **({"open": ""} if node.open else {}))
        items.append(element("li", head, tree_html(node.children) if node.children else ""))
    return element("ul", *items, style="list-style:none;padding-left:1.2em;margin:.1em 0")


def verdict_html(word: str, reason: str, summary: str, action: str) -> Markup:
    """The banner above a tree: verdict, reason, one sentence, one next action."""
    paper = f"background:{_CSS.get(word, UNSURE)};color:#fff"
    style = f"{paper};border-radius:.3em;padding:.1em .5em;font-weight:bold"
    parts = [
        element("div", element("span", word, style=style), " ", element("code", reason) if reason else "")
    ]
    parts.append(element("p", prose(summary), style="margin:.3em 0"))
    if action:
        parts.append(element("p", element("b", "Next: "), prose(action), style="margin:.3em 0"))
    return element("div", *parts)


def fold(title: str, lines: Iterable[str]) -> Markup:
    """A folded list of sentences."""
    return details(title, element("ul", *(element("li", prose(line)) for line in lines)))
