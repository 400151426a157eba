"""What terminals and editors leave in a log: overtyped characters, other kinds of space."""

from __future__ import annotations

import re

from labkit.host.wrapping import unwrap
from labkit.show import clean

_BACKSPACE = re.compile(rb"[^\x08]\x08|^\x08+")
_MOST_BACKSPACES = 80  # in a row
_MAX_LINE = 1 << 16
_WORTH = re.compile(rb"(?i)tdx|seam|x86/|linux version|ommand line:|smpboot:|kernel panic")
_UNSEEN = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"))


def tidied(block: bytes) -> bytes:
    """A block of whole lines as a terminal shows it; costs a search or two where there is nothing to do."""
    if b"\xc2\xa0" in block:
        block = block.replace(b"\xc2\xa0", b" ")
    if b"\b" in block:
        block = b"\n".join(_typed(line) if b"\b" in line else line for line in block.split(b"\n"))
    return block


def seen(text: str) -> str:
    """Without characters that have no width, and without a carriage return that was written out."""
    text = text if text.isascii() else text.translate(_UNSEEN)
    return text.removesuffix("^M")


def _typed(raw: bytes) -> bytes:
    """A line in which a backspace takes the character before it away.

    It cannot take away the name of the program that wrote the line: such a line stays as it is.
    """
    line = raw
    for _ in range(_MOST_BACKSPACES):
        line, count = _BACKSPACE.subn(b"", line)
        if not count:
            break
    if not _WORTH.search(line) or len(line) > _MAX_LINE:
        return raw
    return raw if unwrap(clean(raw.decode("utf-8", "replace"))).foreign else line
