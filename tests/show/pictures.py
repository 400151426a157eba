"""Reads the pictures that views keep inside images."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import unquote


def drawn(markup: str) -> str:
    """The SVG of all images in ``markup``, one after the other."""
    sources = re.findall(r'<img src="data:image/svg\+xml,([^"]*)"', markup)
    return "\n".join(unquote(unescape(source)) for source in sources)
