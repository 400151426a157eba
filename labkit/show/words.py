"""Pages beside the chapters: the glossary, and everything on one page, which can be searched."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from labkit.show.markup import Markup, element, join
from labkit.show.site import POLICY, Link, plain_page

_CELL = re.compile(r'<div class="cell\b[^>]*>')
_PROMPT = re.compile(r'<div class="prompt\b[^>]*>.*?</div>', re.DOTALL)
_OUTPUT = re.compile(r'<div class="output_wrapper\b')
_HEADING = re.compile(r'<h[1-4] id="([^"]*)"[^>]*>(.*?)</h[1-4]>', re.DOTALL)
_INLINE = re.compile(r"</?(?:a|b|code|em|i|span|strong)\b[^>]*>")
_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True)
class PageSection:
    """What stands below one heading of a page. anchor: the heading's id; text: prose and code, bare."""

    anchor: str
    heading: str
    text: str


def sections(body: str) -> list[PageSection]:
    """What stands below each heading of a chapter's page: its prose and its code, without what cells put out.

    body: the page's cells, as ``chapter_body`` makes them.
    """
    prose = "".join(_OUTPUT.split(cell, maxsplit=1)[0] for cell in _CELL.split(body)[1:])
    first, *parts = _HEADING.split(prose)
    found = [
        PageSection(*map(_bare, three)) for three in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]
    return [PageSection("", "", _bare(first)), *found] if _bare(first) else found


def _bare(markup: str) -> str:
    """The words of some markup."""
    plain = html.unescape(_TAG.sub(" ", _INLINE.sub("", _PROMPT.sub(" ", markup))))
    return " ".join(plain.replace("¶", " ").split())


def glossary_page(entries: Sequence[tuple[str, str, str]]) -> Markup:
    """The glossary; every word can be linked to."""
    return plain_page("Words of these pages", *(_word(entry) for entry in entries))


def everything_page(
    chapters: Sequence[tuple[Link, Sequence[PageSection]]],
    entries: Sequence[tuple[str, str, str]],
    glossary: str,
) -> Markup:
    """The text of all chapters, and the words, with the one script of these pages: it searches them.

    Without a script the browser's own search does it. chapters: the page of each with its sections.
    glossary: the address of the words' page.
    """
    parts = [
        _part(f"{link.href}#{part.anchor}", _title(link.text, part.heading), part.text)
        for link, found in chapters
        for part in found or [PageSection("", "", link.question)]
    ]
    parts += [_part(f"{glossary}#{anchor}", word, body.replace("*", "")) for anchor, word, body in entries]
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return plain_page(
        "Search these pages",
        element(
            "div",
            element("label", "Words to look for ", Markup('<input type="search" autocomplete="off">')),
            " ",
            element("output", aria_live="polite"),
            class_="search",
            hidden="hidden",
        ),
        element("p", "Your browser's search (Ctrl-F) finds words on this page.", class_="no-search"),
        element("div", *parts, class_="parts"),
        element("script", Markup(script)),
        policy=f"{POLICY}; script-src 'sha256-{digest}'",
    )


def _title(page: str, heading: str) -> str:
    return f"{page} › {heading}" if heading not in ("", page) else page


def _part(address: str, title: str, text: str) -> Markup:
    heading = element("h3", element("a", title, href=address.removesuffix("#")))
    return element("section", heading, element("p", text, class_="text"), class_="part")


def _script() -> str:
    from importlib.resources import files  # only a published site needs it, every verb would pay

    return files("labkit.show").joinpath("search.js").read_text(encoding="utf-8")


def _word(entry: tuple[str, str, str]) -> Markup:
    anchor, word, body = entry
    marked = [element("i", part) if number % 2 else part for number, part in enumerate(body.split("*"))]
    return join([element("h3", word, id=anchor), element("p", *marked)])
