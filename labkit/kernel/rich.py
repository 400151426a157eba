"""What a guest may show besides text: a short list of types, each looked at before it is passed on."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from labkit.show import clean

ALLOWED = ("image/png", "image/jpeg", "application/json", "text/plain")
"""No type among them that a front end renders as markup or runs as a script."""

_JSON_LIMIT = 1 << 20
_PLAIN_LIMIT = 20_000
"""Bytes of JSON, and characters of its plain text."""
_DEPTH = 60
"""Levels of nesting: front ends, and Python's own encoder, give up at some depth."""
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')
_MAGIC = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}


def bundle(mime: str, data: bytes) -> tuple[dict[str, Any] | None, str]:
    """The MIME bundle for what a guest shows, or None and the reason."""
    if mime not in ALLOWED:
        return None, f"display: {mime} from the guest is not shown; allowed are {', '.join(ALLOWED)}."
    if mime in _MAGIC:
        if not data.startswith(_MAGIC[mime]):
            return None, f"display: this is no {mime}."
        return {mime: base64.b64encode(data).decode(), "text/plain": f"<{mime}, {len(data)} bytes>"}, ""
    text = data.decode("utf-8", "replace")
    if mime == "text/plain":
        return {mime: clean(text)}, ""
    if len(data) > _JSON_LIMIT:
        return None, f"display: this JSON has {len(data)} bytes, and at most {_JSON_LIMIT} are shown."
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None, "display: this is not an application/json."
    if _depth(text) > _DEPTH:
        return None, f"display: this JSON is nested deeper than {_DEPTH} levels, and is not shown."
    return {mime: value, "text/plain": _plain(text, value)}, ""


def _plain(text: str, value: Any) -> str:
    """The value as indented text; a large one as it came, and not all of it.

    Indentation multiplies: 600 kB of brackets would be 540 MB of spaces.
    """
    if len(text) <= _PLAIN_LIMIT:
        return clean(json.dumps(value, indent=2))
    return f"{clean(text[:_PLAIN_LIMIT])}\n[... {len(text) - _PLAIN_LIMIT} characters not shown ...]"


def _depth(text: str) -> int:
    """How deep JSON is nested."""
    deepest = depth = 0
    for bracket in _BRACKETS.findall(text):
        depth += 1 if bracket in "[{" else -1 if bracket in "]}" else 0
        deepest = max(deepest, depth)
    return deepest


def _no_number(word: str) -> Any:
    raise ValueError(word)
