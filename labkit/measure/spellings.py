"""Ways in which programs spell bytes in a text, brought into the one that is searched for evidence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

_QUOTED = re.compile(rb"%(?:2[BFbf]|3[Dd])")
# Quoted-printable fills its lines; one such line alone may be base64 that ends.
_SOFT_BREAK = re.compile(rb"=(?<=[^=\s]{70}=)\r?\n")
_FEWEST_BREAKS = 3
_ENTITY = re.compile(rb"&#(43|47|61|[xX]2[bBfF]|[xX]3[dD]);")
_CONTINUED = re.compile(rb"\\\r?\n")
# What stands before every line of a text in a mail's reply, or in a patch that adds it.
_BEFORE = (re.compile(rb"^(?:>[ \t]?)+", re.MULTILINE), re.compile(rb"^\+", re.MULTILINE))
_FEWEST_LINES = 4
# (uint8_t)0x04 of C, (byte) 0x04 of Java, 0x04u8 of Rust, 0x04.toByte() of Kotlin
_CAST = re.compile(rb"\((?:const )?(?:u?int8_t|unsigned char|char|byte|Byte|u8|UInt8)\)[ \t]*")
_SUFFIX = re.compile(rb"(?<=[0-9a-fA-F])(?:_?u8\b|\.toByte\(\))")
_LITERAL = re.compile(rb"\bb(?:'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\")")
_SHORTEST = 64
# A row of a hex dump behind what a log, a debugger or a shell writes before it.
_ROW = re.compile(
    rb"^[^\n]{0,120}?\b(?:0x)?([0-9a-fA-F]{8,16}):?[ \t]+"
    rb"((?:(?:0x)?[0-9a-fA-F]{2}[ \t]+){0,31}(?:0x)?[0-9a-fA-F]{2})\b",
    re.MULTILINE,
)
_FEWEST_ROWS = 16
# What hexyl draws around the bytes of a row, and what `dmem` of UEFI's shell puts between its halves.
_FRAMED = re.compile(
    rb"^\xe2\x94\x82([0-9a-f]{8})\xe2\x94\x82([0-9a-f ]*)(?:\xe2\x94\x8a([0-9a-f ]*))?\xe2\x94\x82[^\n]*$",
    re.MULTILINE,
)
_HALVES = re.compile(
    rb"^([ \t]+[0-9A-F]{8}: [0-9A-Fa-f]{2}(?: [0-9A-Fa-f]{2}){7})-(?=[0-9A-Fa-f]{2} )", re.MULTILINE
)


def literal(text: bytes) -> bytes:
    """The bytes of a literal of Python; nothing where it is none."""
    try:
        value = ast.literal_eval(text.decode("ascii"))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return b""
    return value if isinstance(value, bytes) else b""


def unquoted(text: bytes) -> bytes:
    """The text without what forms (``%2F``), mails, pages, patches and shells make of its lines."""
    if _QUOTED.search(text):
        text = unquote_to_bytes(text)
    if len(_SOFT_BREAK.findall(text)) >= _FEWEST_BREAKS:
        text = _SOFT_BREAK.sub(b"", text).replace(b"=3D", b"=")
    if b"&#" in text:
        text = _ENTITY.sub(
            lambda found: bytes([int(b"0" + found[1], 16 if found[1][:1] in b"xX" else 10)]), text
        )
    lines = text.count(b"\n") + 1
    for before in _BEFORE if lines >= _FEWEST_LINES else ():
        if sum(1 for _ in before.finditer(text)) == lines:
            text = before.sub(b"", text)
    return _CONTINUED.sub(b"", text)


def respelled(text: bytes) -> Iterator[bytes]:
    """The text in other spellings, each only where something in it calls for it."""
    if _CAST.search(text) or _SUFFIX.search(text):
        yield _SUFFIX.sub(b"", _CAST.sub(b"", text))
    if b"b'" in text or b'b"' in text:
        yield from (literal(found[0]) for found in _LITERAL.finditer(text) if len(found[0]) > _SHORTEST)


def bare_rows(text: bytes) -> bytes:
    """The rows of a hex dump without what stands before and behind them; nothing where there are few."""
    if text.count(b"\n") < _FEWEST_ROWS:
        return b""
    text = _HALVES.sub(rb"\1 ", _FRAMED.sub(rb"\1 \2 \3", text))
    rows = [b"%s  %s" % (row[1], row[2].replace(b"0x", b"")) for row in _ROW.finditer(text)]
    return b"\n".join(rows) if len(rows) >= _FEWEST_ROWS else b""
