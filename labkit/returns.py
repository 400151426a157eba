"""What carriage returns leave of a text: a terminal writes the rest of the line over what stood in it."""

from __future__ import annotations

import re

_OVERWRITTEN = re.compile(r"^[^\n]*\r(?=[^\r\n])", re.MULTILINE)


def without_overwritten(text: str) -> str:
    """The text without what was overwritten in each line.

    The carriage returns at the end of a line, or of the text, stay: nothing was written over that line yet.
    """
    return _OVERWRITTEN.sub("", text) if "\r" in text else text
