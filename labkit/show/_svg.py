"""Inline SVG pictures, made of the same escaped elements as the HTML."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.show._html import Markup, element

_COLOURS = ("#0969da", "#8250df", "#1a7f37", "#9a6700", "#bf3989", "#57606a")


def picture(
    width: float, height: float, label: str, *parts: Markup, font: str = "13px system-ui,sans-serif"
) -> Markup:
    """A picture in its natural size, smaller where there is no room; ``label`` is read aloud in its place."""
    return element(
        "svg",
        element("title", label),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        role="img",
        style=f"font:{font};max-width:100%;height:auto",
    )


def bars(spans: Sequence[tuple[str, float, float]], unit: str = "s") -> Markup:
    """Horizontal bars on one time axis: (name, start, length) each, in ``unit``.

    The numbers stand as text beside the bars, so that the picture needs no colour to be read.
    """
    total = max((start + length for _, start, length in spans), default=0.0) or 1.0
    left, width, row = 110, 420, 26
    parts = []
    for number, (name, start, length) in enumerate(spans):
        y = number * row
        x, w = left + width * start / total, max(1.5, width * length / total)
        colour = _COLOURS[number % len(_COLOURS)]
        parts += [
            element("text", name, x=left - 8, y=y + 17, text_anchor="end", fill="currentColor"),
            element("rect", x=f"{x:.1f}", y=y + 4, width=f"{w:.1f}", height=row - 8, rx=3, fill=colour),
            element("text", f"{length:.2f} {unit}", x=f"{x + w + 6:.1f}", y=y + 17, fill="currentColor"),
        ]
    size = {"viewBox": f"0 0 {left + width + 90} {max(1, len(spans)) * row}"}
    style = "max-width:40rem;width:100%;font:13px system-ui,sans-serif"
    title = element("title", ", ".join(f"{name} {length:.2f} {unit}" for name, _, length in spans))
    return element("svg", title, *parts, role="img", style=style, xmlns="http://www.w3.org/2000/svg", **size)
