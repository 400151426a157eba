"""Words in a colour can be read on every front end's page: WCAG asks for a contrast of 4.5 to 1."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from labkit.show.colours import BAD, BLUE, DIM, GOOD, ON_DARK, ON_LIGHT, PINK, PURPLE, STAMP, UNSURE, ink
from labkit.show.sanitize import sanitize

COLOURS = (GOOD, BAD, UNSURE, DIM, BLUE, PURPLE, PINK)
# The ink and the paper of JupyterLab's themes and its striped rows, VS Code's, and those of a run's pages.
PAGES = [
    *[("#212121", "#ffffff"), ("#212121", "#f5f5f5"), ("#1f2328", "#f6f8fa")],
    *[("#ffffff", "#111111"), ("#ffffff", "#222222"), ("#d4d4d4", "#1e1e1e"), ("#e6edf3", "#161b22")],
]


def channels(colour: str) -> list[float]:
    return [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]


def site_css() -> str:
    return files("labkit.show").joinpath("site.css").read_text()


def luminance(parts: list[float]) -> float:
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: list[float], other: list[float]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(("text", "paper"), PAGES)
def test_words_in_a_colour_can_be_read(colour: str, text: str, paper: str) -> None:
    share = re.search(r"currentColor (\d+)%", ink(colour))
    assert share
    part = int(share[1]) / 100
    mixed = [part * a + (1 - part) * b for a, b in zip(channels(text), channels(colour), strict=True)]
    assert contrast(mixed, channels(paper)) >= 4.5


@pytest.mark.parametrize("colour", COLOURS)
def test_words_in_a_picture_can_be_read(colour: str) -> None:
    assert contrast(channels(ON_LIGHT.get(colour, colour)), channels("#ffffff")) >= 4.5
    assert contrast(channels(ON_DARK[colour]), channels("#161b22")) >= 4.5


@pytest.mark.parametrize("paper", [STAMP, GOOD, BAD])
def test_white_words_on_paper_can_be_read(paper: str) -> None:
    assert contrast(channels(paper), channels("#ffffff")) >= 4.5


def site_colours() -> list[dict[str, str]]:
    """The colours of a run's pages by name, light and dark."""
    blocks = re.findall(r":root \{([^}]*)\}", site_css())
    named = [dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in blocks]
    return [{name: long(colour) for name, colour in colours.items()} for colours in named]


def long(colour: str) -> str:
    return colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:])


@pytest.mark.parametrize("colours", site_colours())
def test_words_on_a_page_of_a_run_can_be_read(colours: dict[str, str]) -> None:
    papers = ("bg", "soft", "bad-soft", "unsure-soft")
    faint = {
        (ink, paper): round(ratio, 2)
        for ink in ("fg", "dim", "link", "ok", "bad", "unsure", "other")
        for paper in papers
        if (ratio := contrast(channels(colours[ink]), channels(colours[paper]))) < 4.5
    }
    assert faint == {}


def test_no_words_of_a_page_have_a_colour_of_one_scheme_alone() -> None:
    live = files("labkit.live").joinpath("browser/live.css").read_text()
    rules = re.sub(r":root \{[^}]*\}", "", site_css()) + live
    assert re.findall(r"[ {;](?:color|border[\w-]*|outline): [^;]*(?:#\w{3,6}|GrayText)", rules) == []


def test_a_published_page_keeps_the_ink() -> None:
    assert "color-mix" in sanitize(f'<b style="{ink(GOOD)}">x</b>')
    assert "color-mix" not in sanitize('<b style="color:color-mix(in srgb, url(//x), red)">x</b>')
