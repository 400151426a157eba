"""Markup that somebody else wrote, made safe to show: what is not known to be harmless is left out.

nh3 (ammonia) reads it as a browser does and writes anew only what stands in the lists here. No element that
runs, fetches, frames, submits or animates is among them, no address but those a person follows, and no style
by which a cell's output could leave its box.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from labkit.show.markup import Markup

_BLOCKS = """
    a abbr b blockquote br caption cite code col colgroup dd del details dfn div dl dt em figcaption figure
    h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q s samp small span strong sub summary sup
    table tbody td tfoot th thead tr tt u ul var wbr
"""
_DRAWINGS = """
    svg g path rect circle ellipse line polyline polygon text tspan title desc defs marker
    linearGradient radialGradient stop clipPath use
"""
_TAGS = frozenset(_BLOCKS.split()) | frozenset(_DRAWINGS.split())
# Their content goes as well: it is not text for a reader.
_GONE = frozenset(
    {"script", "style", "template", "noscript", "iframe", "object", "math", "select", "textarea"}
)
_EVERYWHERE = frozenset({"class", "id", "lang", "dir", "title", "style", "role", "aria-label", "aria-hidden"})
_TABLES = frozenset({"colspan", "rowspan", "scope", "align", "valign"})
_PAINT = """
    fill fill-opacity fill-rule stroke stroke-width stroke-opacity stroke-dasharray stroke-dashoffset
    stroke-linecap stroke-linejoin stroke-miterlimit opacity color transform font-size font-family font-weight
    font-style text-anchor dominant-baseline alignment-baseline letter-spacing clip-rule visibility
"""
_SHAPES = """
    x y x1 x2 y1 y2 dx dy cx cy r rx ry fx fy d points width height viewBox preserveAspectRatio offset
    stop-color stop-opacity gradientUnits gradientTransform spreadMethod markerWidth markerHeight refX refY
    orient markerUnits clipPathUnits textLength lengthAdjust rotate pathLength xmlns version
"""
_SVG = frozenset(_PAINT.split()) | frozenset(_SHAPES.split())
_OWN: dict[str, set[str]] = {
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "details": {"open"},
    "ol": {"start", "type"},
    "li": {"value"},
    **{tag: set(_TABLES) for tag in ("td", "th", "tr", "col", "colgroup")},
    **{tag: set(_SVG) for tag in _DRAWINGS.split()},
    "use": {*_SVG, "href"},
}
# Colour, type and the inside of a box. Nothing that places, covers, moves or clips another.
_STYLE_NAMES = """
    color background background-color font font-family font-size font-style font-variant font-weight
    line-height text-align text-decoration vertical-align white-space word-break overflow-wrap word-wrap
    border border-top border-right border-bottom border-left border-color border-style border-width
    border-radius border-collapse border-spacing padding padding-top padding-right padding-bottom padding-left
    margin margin-left margin-right margin-top margin-bottom width min-width max-width height max-height
    min-height overflow overflow-x overflow-y list-style list-style-type fill stroke stroke-width opacity
    text-anchor
"""
_STYLES = frozenset(_STYLE_NAMES.split())
_VALUE = re.compile(
    r"(?:[\w\s#%.,/'\"+-]|(?:rgba?|hsla?)\([\d\s.,%/a-z]{1,60}\)|color-mix\([\w\s#%,]{1,80}\)){1,200}"
)
_NEGATIVE = re.compile(r"(?:^|[\s,(])-\s*\.?\d")
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]*")
_FRAGMENT = re.compile(r"#[\w:.=-]{0,200}")
_ADDRESS = re.compile(r"(?:https?://|mailto:)[^\s\x00-\x1f]*", re.IGNORECASE)
_LOCAL = re.compile(r"url\(\s*['\"]?#[\w:.-]+['\"]?\s*\)")
_DEEPEST_SIZE = 16 << 20

# Words of our own pages, which give a verdict or place something: no output may wear them.
_FRAME = """
    bar top end home side next previous facts note bad status passed failed interrupted running chapters head
    title pairs stamp cells
"""
_OURS = frozenset(_FRAME.split())


def sanitize(markup: str, href: Callable[[str], str | None] = lambda address: address) -> Markup:
    """The harmless part of foreign markup.

    href: says of an address that a link names where it leads instead; None takes the link away. It is asked
    for relative addresses only.
    """
    import nh3  # only what is published needs it

    def kept(tag: str, name: str, value: str) -> str | None:
        return _attribute(tag, name, value, href)

    return Markup(
        nh3.clean(
            markup[:_DEEPEST_SIZE],
            tags=set(_TAGS),
            clean_content_tags=set(_GONE),
            attributes={"*": set(_EVERYWHERE), **{tag: set(names) for tag, names in _OWN.items()}},
            attribute_filter=kept,
            strip_comments=True,
            link_rel=None,
            url_schemes={"http", "https", "mailto", "data"},
        )
    )


def _attribute(tag: str, name: str, value: str, href: Callable[[str], str | None]) -> str | None:
    if name == "style":
        return _style(value) or None
    if name == "class":
        return " ".join(word for word in value.split() if word not in _OURS) or None
    if name == "href" and tag == "use":
        return value if _FRAGMENT.fullmatch(value) else None
    if name == "href":
        if _ADDRESS.fullmatch(value) or _FRAGMENT.fullmatch(value):
            return value
        return None if ":" in value.partition("/")[0] or value.startswith(("/", "\\")) else href(value)
    if name == "src":
        return value if tag == "img" and _PICTURE.fullmatch(value) else None
    # What paints may name a gradient of the same drawing, and nothing outside the page.
    return None if "url(" in _LOCAL.sub("", value.lower()) or "\\" in value else value


def _style(text: str) -> str:
    """The declarations of a style that change how a box looks, and none that move it."""
    kept = []
    for declaration in text.split(";"):
        name, colon, value = declaration.partition(":")
        name, value = name.strip().lower(), value.strip()
        good = colon and name in _STYLES and _VALUE.fullmatch(value)
        if good and not _NEGATIVE.search(value):
            kept.append(declaration.strip())
    return ";".join(kept)
