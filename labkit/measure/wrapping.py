"""The wrappings in which people have quotes and logs: hexadecimal, base64, a JSON document around them."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from labkit.files import crowded

_TEXT = re.compile(rb"[\t\n\r\x20-\x7e]*")
_HEX = re.compile(r"[0-9A-Fa-f]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_DEEPEST = 4
_MOST_COMMAS = 400_000
WHITE = b" \t\n\r\x0b\x0c"
"""White space, which is dropped from encoded bytes: to split at it takes far more memory than they do."""
_SHORTEST = 32


def plain_bytes(data: bytes) -> bytes:
    """Binary data as it is, and text that is hexadecimal (with or without ``0x``) or base64, decoded."""
    text = data.strip()
    if len(text) < _SHORTEST or not _TEXT.fullmatch(text):
        return data
    return from_text(text.translate(None, WHITE).decode("ascii")) or data


def plain_text(data: bytes) -> bytes:
    """Text in UTF-16, and with a mark of its encoding, as the same text in UTF-8; other bytes as they are."""
    start = data[:_SHORTEST]
    without_mark = {start[1::2]: "utf-16-le", start[::2]: "utf-16-be"}.get(bytes(_SHORTEST // 2))
    marked = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else None
    if kind := marked or without_mark:
        try:
            return data.decode(kind).encode()
        except UnicodeError:
            return data
    return data.removeprefix(b"\xef\xbb\xbf")


def from_text(word: str) -> bytes | None:
    """The bytes that a word of hexadecimal or base64 stands for; None where it is neither."""
    bare = word[2:] if word[:2] in ("0x", "0X") else word
    if len(bare) % 2 == 0 and _HEX.fullmatch(bare):
        return bytes.fromhex(bare)
    # The lines around what is armoured have letters of base64 alone.
    if _BASE64.fullmatch(word) and "-----" not in word:
        try:
            padded = word + "=" * (-len(word) % 4)
            return base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)
        except binascii.Error:
            return None
    return None


def json_document(data: bytes) -> Any:
    """The JSON object or list that ``data`` is; None where it is none."""
    if data.lstrip()[:1] not in (b"{", b"[") or crowded_evidence(data):
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def crowded_evidence(data: bytes) -> bool:
    """JSON that holds far more values than a log or a quote, in whatever form, has."""
    return crowded(data) or data.count(b",") > _MOST_COMMAS


def values_of(document: Any, names: Collection[str], depth: int = 0) -> Iterator[Any]:
    """What stands under any of ``names`` in a JSON document, nearest to its top first."""
    if depth > _DEEPEST:
        return
    if isinstance(document, dict):
        yield from (value for name, value in document.items() if name.lower() in names)
        for value in document.values():
            yield from values_of(value, names, depth + 1)
