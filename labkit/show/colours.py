"""The colours of words and lines: one set that can be read on light and on dark pages alike.

What stands in a cell's output does not know the page's theme, so each colour keeps a contrast of at least
4.1 to 1 with white and with the dark theme of JupyterLab (#111111). That is enough for lines, marks and bars;
WCAG asks 4.5 to 1 of text, which no single colour has with both. So words are written in ``ink``. A picture
has its own paper, with inks for light and for dark.
"""

from __future__ import annotations

GOOD, BAD, UNSURE, DIM = "#218838", "#dc3545", "#a26c00", "#717984"
BLUE, PURPLE, PINK = "#1f75e0", "#8a5ce3", "#c4458f"

STAMP = "#9a6700"
"""Paper on which white words stand."""

ON_LIGHT = {UNSURE: "#9a6700", DIM: "#59636e", BLUE: "#0969da", PURPLE: "#8250df"}
"""The ink of a picture's words on light paper, where it is not the colour itself."""

ON_DARK = {
    GOOD: "#3fb950",
    BAD: "#ff7b72",
    UNSURE: "#d29922",
    DIM: "#9198a1",
    BLUE: "#58a6ff",
    PURPLE: "#bc8cff",
    PINK: "#f778ba",
}
"""The ink of a picture on dark paper, for each colour."""


def ink(colour: str) -> str:
    """The style of words in a colour: mixed with the page's own ink, it can be read on light and dark.

    What knows no ``color-mix`` (JupyterLab's sanitizer, old browsers) takes the colour itself.
    """
    return f"color:{colour};color:color-mix(in srgb, currentColor 30%, {colour})"
