"""Pictures of attestation: who vouches for whom, and how a register comes about."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.settings import Trust
from labkit.show._text import columns, one_line, stamp
from labkit.show._view import View
from labkit.show.colours import BLUE, DIM, UNSURE
from labkit.show.markup import Markup, badge, element
from labkit.show.svg import picture

_MONO = "12px ui-monospace,monospace"
_REAL, _UNREAL = BLUE, UNSURE
_WIDTH, _BOX, _STEP = 760, 46, 78
_FOLDED = 40
_LONGEST = 58


def trust_chain(
    links: Sequence[tuple[str, str, str]], claims: Sequence[tuple[str, str]], trust: Trust
) -> View:
    """Who vouches for whom, from the root down to what is claimed.

    links: name, what it is, and by what it vouches for the next one. claims: what the last one says.
    """
    colour = _REAL if trust is Trust.HARDWARE else _UNREAL
    parts = []
    for place, (name, what, how) in enumerate(links):
        y = place * _STEP
        parts += _box(4, y + 4, 430, name, what, colour, dashed=trust is not Trust.HARDWARE)
        parts += _arrow(219, y + 4 + _BOX, y + _STEP + 4, how)
    width = (_WIDTH - 8 - 10 * (len(claims) - 1)) // max(1, len(claims))
    y = len(links) * _STEP
    for place, (name, what) in enumerate(claims):
        parts += _box(4 + place * (width + 10), y + 4, width, name, what, DIM)
    title = "Who vouches for whom"
    drawn = picture(_WIDTH, y + _BOX + 12, ", ".join(name for name, _, _ in links), *parts)
    rows = [(f"{'  ' * place}{name}", what, how) for place, (name, what, how) in enumerate(links)]
    rows += [(f"{'  ' * len(links)}{name}", what, "") for name, what in claims]
    return View(_framed(title, trust, drawn), f"{stamp(trust)}{title}\n{columns(rows)}")


def register_fold(name: str, steps: Sequence[tuple[str, str, str]]) -> View:
    """How a register comes about: from zeros, one hash for each event.

    steps: what was measured, its digest and the value of the register after it, as hex.
    """
    shown = steps[:_FOLDED]
    parts = _value(4, 4, "0" * 16 + "…", "start")
    for place, (label, digest, value) in enumerate(shown):
        y = place * _STEP
        parts += _arrow(104, y + 4 + _BOX, y + _STEP + 4, "")
        middle = y + 4 + (_BOX + _STEP) / 2
        parts += [
            element("text", "SHA-384", x=112, y=middle + 4, fill=DIM),
            element("line", x1=330, y1=middle, x2=172, y2=middle, stroke=DIM),
            element("polygon", points=f"172,{middle} 180,{middle - 4} 180,{middle + 4}", fill=DIM),
            element("text", _cut(label), x=340, y=middle - 3, fill="currentColor"),
            element("text", _hex(digest), x=340, y=middle + 14, fill=DIM, style=f"font:{_MONO}"),
        ]
        last = place + 1 == len(steps)
        parts += _value(4, y + _STEP + 4, _hex(value), name if last else "")
    title = f"{name}: register = SHA-384(register + digest)"
    height = len(shown) * _STEP + _BOX + 12
    if len(steps) > len(shown):
        parts.append(element("text", f"… {len(steps) - len(shown)} more", x=4, y=height + 8, fill=DIM))
        height += 20
    drawn = picture(_WIDTH, height, f"{name}, folded from {len(steps)} events", *parts)
    head = ("", "digest", f"{name} after it")
    rows = [(one_line(label), _hex(digest), _hex(value)) for label, digest, value in steps]
    return View(element("div", element("b", title), drawn), "\n".join([title, columns([head, *rows])]))


def _framed(title: str, trust: Trust, drawn: Markup) -> Markup:
    return element("div", element("div", element("b", title), " ", badge(trust)), drawn)


def _box(
    x: float, y: float, width: int, name: str, what: str, colour: str, *, dashed: bool = False
) -> list[Markup]:
    line = {"stroke_dasharray": "5 3"} if dashed else {}
    letters = width // 7
    return [
        element(
            "rect",
            x=x,
            y=y,
            width=width,
            height=_BOX,
            rx=5,
            fill="none",
            stroke=colour,
            stroke_width=1.5,
            **line,
        ),
        element("text", _cut(name, letters), x=x + 10, y=y + 19, fill="currentColor", font_weight="bold"),
        element("text", _cut(what, letters), x=x + 10, y=y + 37, fill=DIM),
    ]


def _value(x: float, y: float, value: str, name: str) -> list[Markup]:
    box = element("rect", x=x, y=y + 6, width=200, height=_BOX - 12, rx=5, fill="none", stroke=DIM)
    text = element("text", value, x=x + 12, y=y + 28, fill="currentColor", style=f"font:{_MONO}")
    beside = element("text", name, x=x + 212, y=y + 28, fill="currentColor", font_weight="bold")
    return [box, text, *([beside] if name else [])]


def _arrow(x: float, top: float, bottom: float, words: str) -> list[Markup]:
    points = f"{x},{bottom} {x - 4},{bottom - 8} {x + 4},{bottom - 8}"
    return [
        element("line", x1=x, y1=top, x2=x, y2=bottom - 6, stroke=DIM),
        element("polygon", points=points, fill=DIM),
        element("text", words, x=x + 10, y=(top + bottom) / 2 + 3, fill=DIM),
    ]


def _hex(value: str) -> str:
    return f"{value[:16]}…" if len(value) > 16 else value


def _cut(words: str, longest: int = _LONGEST) -> str:
    line = one_line(words)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
