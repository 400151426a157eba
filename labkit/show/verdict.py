"""Views of verdicts: one coloured headline, then the facts."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.settings import Trust
from labkit.show.colours import BAD, GOOD, ink
from labkit.show.markup import Markup, badge, element, join
from labkit.show.measure import section_table


def verdict_view(
    word: str, good: bool, trust: Trust, because: str, rows: Sequence[Sequence[object]]
) -> Markup:
    """A verdict in a word, its trust, its reason, and the facts it rests on."""
    style = f"{ink(GOOD if good else BAD)};font-weight:bold"
    headline = element("p", badge(trust), " ", element("span", word, style=style), " ", because)
    return join([headline, section_table((), rows)])
