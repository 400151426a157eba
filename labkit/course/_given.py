"""JSON that somebody handed in: bounded in depth, so that nothing that compares or writes it breaks on it."""

from __future__ import annotations

import json
from typing import Any

from labkit.files import require_shallow, strict_json


def given_json(data: bytes, strict: bool = True) -> Any:
    """A document of a student.

    strict: refuse what JSON does not have, a key twice and a number such as NaN; the outputs of an honest
    notebook may have them.

    Raises:
        ValueError: it is none, or is nested more than 100 deep.
    """
    try:
        if strict:
            return strict_json(data)
        document = json.loads(data)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None
    require_shallow(document)
    return document
