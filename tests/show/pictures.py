"""Reads the pictures that views keep inside images."""

from __future__ import annotations

import re
from base64 import b64decode


def drawn(markup: str) -> str:
    """The SVG of all images in ``markup``, one after the other."""
    sources = re.findall(r'<img src="data:image/svg\+xml;base64,([^"]*)"', markup)
    return "\n".join(b64decode(source).decode() for source in sources)
