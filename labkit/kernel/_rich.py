"""What a guest may show besides text: a short list of types, each looked at before it is passed on."""

from __future__ import annotations

import base64
import json
from typing import Any

from labkit.show import clean

ALLOWED = ("image/png", "image/jpeg", "application/json", "text/plain")
"""No type among them that a front end renders as markup or runs as a script."""

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
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None, "display: this is no application/json."
    return {mime: value, "text/plain": clean(json.dumps(value, indent=2))}, ""
