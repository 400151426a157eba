"""Pictures that every front end shows: SVG inside an image, and bars made of table cells.

A notebook that is not trusted loses inline SVG (its words run together) but keeps images, tables and
inline styles: JupyterLab's sanitizer, as of 4.6. Inside an image no script runs and nothing is fetched.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from itertools import cycle

from labkit.show.colours import BLUE, DIM, GOOD, ON_DARK, ON_LIGHT, PINK, PURPLE, UNSURE
from labkit.show.markup import Markup, element

_NAME, _NUMBER = "width:6em;text-align:left", "width:4em;text-align:right;white-space:nowrap"
_SMALLEST = 0.7
_COLOURS = (BLUE, PURPLE, GOOD, UNSURE, PINK, DIM)
_OF_STAGES = {"firmware": BLUE, "efi-stub": PURPLE, "kernel": GOOD, "init": UNSURE, "shell": PINK}
"""A stage has one colour, whatever other stages a boot has."""

# An image does not inherit the page's colours, and a front end's dark theme is not the system's: a picture
# brings its own paper, on which its ink can be read whatever surrounds it.
_INKS = "".join(
    f'[fill="{ink}"],text[fill="{ink}"]{{fill:{dark}}}[stroke="{ink}"]{{stroke:{dark}}}'
    for ink, dark in ON_DARK.items()
)
_WORDS = "".join(f'text[fill="{ink}"]{{fill:{light}}}' for ink, light in ON_LIGHT.items())
_PAPER = (
    f":root{{color:#1f2328}}.paper{{fill:#fff}}{_WORDS}"
    f"@media (prefers-color-scheme:dark){{:root{{color:#e6edf3}}.paper{{fill:#161b22}}{_INKS}}}"
)


def picture(
    width: float, height: float, label: str, *parts: Markup, font: str = "13px system-ui,sans-serif"
) -> Markup:
    """A picture in its natural size; ``label`` is read in its place.

    Where there is less room it shrinks as far as its words can be read, and scrolls then.
    """
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
            style=f"max-width:100%;min-width:{_SMALLEST * width:.0f}px;height:auto",
        ),
        style="overflow-x:auto",
    )


def bars(spans: Sequence[tuple[str, float, float]]) -> Markup:
    """Horizontal bars on one time axis: (name, start, length) each, in seconds.

    The numbers stand as text before the bars: they can be read without colour and without style. The bars
    take what room is left beside them, also on a phone.
    """
    total = max((start + length for _, start, length in spans), default=0.0) or 1.0
    taken = {_OF_STAGES.get(name) for name, _, _ in spans}
    others = cycle([colour for colour in _COLOURS if colour not in taken] or _COLOURS)
    rows = []
    for name, start, length in spans:
        place = f"margin-left:{97 * start / total:.2f}%;width:{max(0.5, 97 * length / total):.2f}%"
        fill = f"height:.9em;border-radius:3px;background-color:{_OF_STAGES.get(name) or next(others)}"
        bar = element("div", element("div", style=f"{place};{fill}"), style="margin-top:.2em")
        cells = [element("td", name, style=_NAME), element("td", f"{length:.2f} s", style=_NUMBER)]
        rows.append(element("tr", *cells, element("td", bar, style="vertical-align:top")))
    return element("table", *rows, style="margin-left:0;width:100%;max-width:28em")
