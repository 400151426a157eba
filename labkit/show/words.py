"""Pages beside the chapters: the glossary, and everything on one page."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.show.markup import Markup, element, join
from labkit.show.site import Link, plain_page


def glossary_page(entries: Sequence[tuple[str, str, str]]) -> Markup:
    """The glossary; every word can be linked to."""
    return plain_page("Words of these pages", *(_word(entry) for entry in entries))


def everything_page(
    chapters: Sequence[tuple[Link, Sequence[str]]], entries: Sequence[tuple[str, str, str]]
) -> Markup:
    """All headings and words: the browser's own search finds them, without a script and from the disk."""
    listed = [
        element(
            "li",
            element("a", link.text, href=link.href),
            f": {link.question}" if link.question else "",
            element("ul", *(element("li", heading) for heading in found)),
        )
        for link, found in chapters
    ]
    note = element("p", "Search this page with your browser (Ctrl-F).")
    return plain_page(
        "Everything on one page",
        note,
        element("h2", "Chapters"),
        element("ul", *listed),
        element("h2", "Words"),
        *(_word(entry) for entry in entries),
    )


def _word(entry: tuple[str, str, str]) -> Markup:
    anchor, word, body = entry
    marked = [element("i", part) if number % 2 else part for number, part in enumerate(body.split("*"))]
    return join([element("h3", word, id=anchor), element("p", *marked)])
