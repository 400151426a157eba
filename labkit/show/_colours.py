"""The colours of words and lines: one set that can be read on light and on dark pages alike.

What stands in a cell's output does not know the page's theme, so each colour keeps a contrast of at least
4.1 to 1 with white and with the dark theme of JupyterLab (#111111); WCAG asks for 3 to 1 of large or bold
text. A picture has its own paper, and brighter inks where that is dark.
"""

from __future__ import annotations

GOOD, BAD, UNSURE, DIM = "#218838", "#dc3545", "#a26c00", "#717984"
BLUE, PURPLE, PINK = "#1f75e0", "#8a5ce3", "#c4458f"

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
