"""Pictures that every front end shows: SVG inside an image, and bars made of table cells.

A notebook that is not trusted loses inline SVG (its words run together) but keeps images, tables and
inline styles: JupyterLab's sanitizer, as of 4.6. Inside an image no script runs and nothing is fetched.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

from labkit.show._colours import BLUE, DIM, GOOD, ON_DARK, PINK, PURPLE, UNSURE
from labkit.show.markup import Markup, element, table

_NUMBER = "text-align:right;white-space:nowrap"
_COLOURS = (BLUE, PURPLE, GOOD, UNSURE, PINK, DIM)

# An image does not inherit the page's colours, and a front end's dark theme is not the system's: a picture
# brings its own paper, on which its ink can be read whatever surrounds it.
_INKS = "".join(
    f'[fill="{ink}"]{{fill:{dark}}}[stroke="{ink}"]{{stroke:{dark}}}' for ink, dark in ON_DARK.items()
)
_PAPER = (
    ":root{color:#1f2328}.paper{fill:#fff}"
    f"@media (prefers-color-scheme:dark){{:root{{color:#e6edf3}}.paper{{fill:#161b22}}{_INKS}}}"
)


def picture(
    width: float, height: float, label: str, *parts: Markup, font: str = "13px system-ui,sans-serif"
) -> Markup:
    """A picture in its natural size, which scrolls where there is no room; ``label`` is read in its place."""
    drawn = element(
        "svg",
        element("style", Markup(_PAPER)),
        element("title", label),
        element("rect", width="100%", height="100%", rx=6, class_="paper"),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        style=f"font:{font}",
    )
    return element(
        "div",
        element(
            "img",
            src=f"data:image/svg+xml;base64,{b64encode(drawn.encode()).decode()}",
            alt=label,
            width=width,
            height=height,
            style="max-width:none",
        ),
        style="overflow-x:auto",
    )


def bars(spans: Sequence[tuple[str, float, float]]) -> Markup:
    """Horizontal bars on one time axis: (name, start, length) each, in seconds.

    The numbers stand as text before the bars: they can be read without colour, without style, and on a phone,
    where the bars may have to be scrolled to.
    """
    total = max((start + length for _, start, length in spans), default=0.0) or 1.0
    rows = []
    for number, (name, start, length) in enumerate(spans):
        place = f"margin-left:{97 * start / total:.2f}%;width:{max(0.5, 97 * length / total):.2f}%"
        fill = f"height:.9em;border-radius:3px;background-color:{_COLOURS[number % len(_COLOURS)]}"
        bar = element("div", element("div", style=f"{place};{fill}"), style="width:14em;margin-top:.2em")
        rows.append((name, element("div", f"{length:.2f} s", style=_NUMBER), bar))
    return table(rows)
