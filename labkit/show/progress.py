"""How far something is that takes time: what is done, what runs, how long it takes as a rule."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.show._view import View
from labkit.show.colours import BLUE
from labkit.show.markup import element, join

_MOST = 6
"""Steps that are named as done."""


def progress_view(title: str, steps: Sequence[str], seconds: float, expected: float | None) -> View:
    """Progress while it lasts. steps: those said so far, the last one running. seconds: since the start.

    expected: how long it took the last time, in seconds.
    """
    time = f"{seconds:.0f} s"
    if expected:
        late = " (slower than last time)" if seconds > 1.5 * expected + 2 else ""
        time += f" of about {max(expected, 1):.0f} s{late}"
    share = min(100.0, 100 * seconds / expected) if expected else 0.0
    bar = element(
        "div",
        element("div", style=f"width:{share:.1f}%;height:6px;border-radius:3px;background-color:{BLUE}"),
        style="width:20em;max-width:100%;border-radius:3px;background-color:#8c959f",
    )
    done, running = list(steps[:-1]), steps[-1] if steps else "starting"
    earlier = ["…"] if len(done) > _MOST else []
    line = " · ".join([*earlier, *(f"✔ {step}" for step in done[-_MOST:]), f"{running} …"])
    head = element("div", element("b", title), " ", time)
    body = [head, bar if expected else "", element("div", element("small", line))]
    return View(join([element("div", *body)]), f"{title} {time}: {line}")


def done_view(title: str, seconds: float, well: bool) -> View:
    """What is left of progress when it has ended."""
    words = f"{'✔' if well else '✘'} {title}: {seconds:.1f} s"
    return View(element("div", element("small", words)), words)
