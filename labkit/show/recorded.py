"""What a notebook says about its own run: named values, kept in its outputs.

They are stored as scrapbook stores them (nteract/scrapbook, ``docs/models.md``: the JSON scrap), so that what
``scrapbook.glue`` wrote is read here, and what is recorded here is read by scrapbook.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from labkit.errors import UsageError
from labkit.show._text import clean

SCRAP = "application/scrapbook.scrap.json+json"

_NAME_LIMIT = 120
_VALUE_LIMIT = 64 << 10
_MOST_VALUES = 1000


def record(name: str, value: Any) -> None:
    """Record a value of this run under a name; the last one of a name counts.

    value: text, a number, a truth value, None, or a list or mapping of these; bytes become hexadecimal text.

    Raises:
        UsageError: the name is none, or the value cannot be written as JSON.
    """
    if not isinstance(name, str) or not name.strip() or len(name) > _NAME_LIMIT or not name.isprintable():
        raise UsageError(f"{name!r} is not a name for a value.", f"Use up to {_NAME_LIMIT} letters.")
    plain = _plain(name, value)
    bundle = {
        SCRAP: {"name": name, "data": plain, "encoder": "json", "version": 1},
        "text/plain": f"{name} = {plain}",
    }
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.display import display

    if InteractiveShell.initialized():
        display(bundle, raw=True, metadata={"scrapbook": {"name": name, "data": True, "display": False}})


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        value = value.hex()
    elif hasattr(value, "item") and not isinstance(value, Mapping):
        value = value.item()
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"The value {name} cannot be recorded: {error}.", "Record numbers, text, lists or mappings."
        ) from error
    if len(text) > _VALUE_LIMIT:
        raise UsageError(
            f"The value {name} has {len(text)} characters.", f"Record at most {_VALUE_LIMIT} of them."
        )
    return json.loads(text)


def recorded(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """The values in the outputs of an executed notebook, in the order of their names' first use.

    What is no such value is passed over: anything may have written a notebook.
    """
    found: dict[str, Any] = {}
    for cell in notebook.get("cells", ()):
        for output in cell.get("outputs", ()):
            scrap = output.get("data", {}).get(SCRAP)
            if not isinstance(scrap, Mapping) or scrap.get("encoder", "json") not in ("json", "text"):
                continue
            name = scrap.get("name")
            if not isinstance(name, str) or not name.strip() or len(found) >= _MOST_VALUES:
                continue
            value = scrap.get("data")
            if not (isinstance(value, float) and not math.isfinite(value)) and _fits(value):
                found[clean(name, _NAME_LIMIT).replace("\n", " ")] = (
                    clean(value) if isinstance(value, str) else value
                )
    return found


def _fits(value: Any) -> bool:
    try:
        return len(json.dumps(value, allow_nan=False)) <= _VALUE_LIMIT
    except (TypeError, ValueError, RecursionError):
        return False
