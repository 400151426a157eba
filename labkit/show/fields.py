"""Views of binary structures: a table of fields and a hex dump coloured by field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from labkit.show.markup import Markup, code, details, element, join, table

_HUES = (210, 35, 140, 280, 0, 180, 55, 320, 100, 245)
_ROW = 32
_MAX_BYTES = 8192
_VALUE = "min-width:14em"


@dataclass(frozen=True)
class FieldSpan:
    """A named run of bytes at an offset of a structure."""

    name: str
    offset: int
    value: bytes
    note: str = ""


def spans(values: Iterable[tuple[str, bytes]], offset: int = 0) -> list[FieldSpan]:
    """Consecutive fields, the first at ``offset``."""
    found = []
    for name, value in values:
        found.append(FieldSpan(name, offset, value))
        offset += len(value)
    return found


def field_table(fields: Sequence[FieldSpan]) -> Markup:
    """Offset, size, name, value and meaning of each field; the swatch is its colour in the hex map."""
    rows = [
        (
            _swatch(number),
            span.offset,
            len(span.value),
            span.name,
            # Broken anywhere, so that the meaning stays in sight.
            element("div", code(_short(span.value)), style=_VALUE),
            element("div", span.note, style="min-width:7em") if span.note else "",
        )
        for number, span in enumerate(fields)
    ]
    return table(rows, ("", "offset", "size", "field", "value", "meaning"))


def hex_map(fields: Sequence[FieldSpan]) -> Markup:
    """A hex dump of consecutive fields, each in its own colour; hovering names the field."""
    marked: dict[int, list[Markup]] = {}
    left = _MAX_BYTES
    for number, span in enumerate(fields):
        shown = span.value[:left]
        left -= len(shown)
        position = 0
        while position < len(shown):
            row, column = divmod(span.offset + position, _ROW)
            count = min(_ROW - column, len(shown) - position)
            text = shown[position : position + count].hex(" ")
            title = f"{span.name} ({span.offset}+{len(span.value)})"
            marked.setdefault(row, []).append(element("span", text, style=_colour(number), title=title))
            position += count
    lines = [join([f"{row * _ROW:6d}  ", _spaced(parts), "\n"]) for row, parts in sorted(marked.items())]
    if left == 0 and sum(len(span.value) for span in fields) > _MAX_BYTES:
        lines.append(join([f"        … only the first {_MAX_BYTES} bytes are shown\n"]))
    return element("pre", *lines, style="font-size:.75em;line-height:1.35;overflow-x:auto")


def field_view(fields: Sequence[FieldSpan]) -> Markup:
    """The table of fields, and the hex map folded under it."""
    return join([field_table(fields), details("hex map", hex_map(fields))])


def _short(value: bytes) -> str:
    if len(value) > 8 and not any(value):
        return f"00 × {len(value)}"
    text = value.hex()
    return text if len(text) <= 96 else f"{text[:93]}…"


def _colour(number: int) -> str:
    # Half-transparent, so that it is legible on light and dark pages alike.
    lightness = 50 if number // len(_HUES) % 2 == 0 else 65
    return f"background:hsl({_HUES[number % len(_HUES)]} 70% {lightness}% / .3)"


def _swatch(number: int) -> Markup:
    return element("span", "\u00a0\u00a0\u00a0", style=_colour(number))


def _spaced(parts: Sequence[Markup]) -> Markup:
    return Markup(" ".join(parts))
