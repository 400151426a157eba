"""Checks a JSON document of the command line against its schema in docs/schemas/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import referencing

_FOLDER = Path(__file__).resolve().parents[1] / "docs/schemas"


def validate(name: str, document: Any) -> None:
    """Fail where the document is not as the schema ``name`` says."""
    resources = {path.name: json.loads(path.read_text()) for path in _FOLDER.glob("*.json")}
    registry: referencing.Registry[Any] = referencing.Registry().with_contents(resources.items())
    jsonschema.Draft202012Validator(resources[f"{name}.json"], registry=registry).validate(document)
