"""What a person types after ``-p`` becomes the values that papermill puts into a notebook."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labkit.errors import UsageError
from labkit.runs.source import Default, NotebookSource, near

RUN_DIR = "run_dir"
"""The parameter that names the directory for results; a notebook that has it gets it.

Notebooks that run one after the other share it."""

_WORDS = {"True": True, "False": False, "None": None}


def parse(text: str) -> Any:
    """The value of a word: JSON where it is JSON, papermill's ``True``, ``False``, ``None``, else the text.

    >>> [parse(word) for word in ("3", "1e3", "true", "None", "[1, 2]", "emulated", "007")]
    [3, 1000.0, True, None, [1, 2], 'emulated', '007']
    """
    if text in _WORDS:
        return _WORDS[text]
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text


def assign(
    sources: Sequence[NotebookSource], given: Mapping[str, Any], run_dir: Path
) -> dict[str, dict[str, Any]]:
    """The parameters of each notebook by its name: those of ``given`` it has, and the run directory.

    Text in ``given`` is parsed by what the notebook's default is: a default that is text takes it as it
    is; a number, truth value, list or mapping must be one; anything else follows ``parse``.

    Raises:
        UsageError: no notebook has the parameter, or the value is of the wrong kind.
    """
    if RUN_DIR in given:
        raise UsageError(
            f"The parameter {RUN_DIR} is set by the run itself.", "Use --output DIR to choose the directory."
        )
    known = {name for source in sources for name in source.parameters} - {RUN_DIR}
    for name in given:
        if name not in known:
            which = sources[0].name if len(sources) == 1 else "None of the notebooks"
            verb = "has no" if len(sources) == 1 else "has a"
            none = "Set parameters in a cell with the tag `parameters`; here there are none."
            raise UsageError(f"{which} {verb} parameter {name}.", near(name, known) if known else none)
    assigned = {}
    for source in sources:
        values = {
            name: _value(name, value, source.parameters[name])
            for name, value in given.items()
            if name in source.parameters
        }
        for name, value in values.items():
            _check_writable(source, name, value)
        if RUN_DIR in source.parameters:
            values[RUN_DIR] = str(run_dir)
        assigned[source.name] = values
    return assigned


def _check_writable(source: NotebookSource, name: str, value: Any) -> None:
    """Refuse what papermill could not write into the notebook, by the parameter's name.

    Raises:
        UsageError: the notebook does not say its language, or that has no such value.
    """
    if not source.language:
        raise UsageError(
            f"The parameter {name} cannot be given to {source.name}: the notebook does not say its language.",
            "Save it once from Jupyter with the kernel it is for, which writes kernelspec.language.",
        )
    if source.language not in ("bash", "sh") or not isinstance(value, list | dict):
        return
    inner = value.values() if isinstance(value, dict) else value
    if any(isinstance(item, list | dict) for item in inner):
        raise UsageError(
            f"The parameter {name} nests lists or mappings, and a shell has none inside others.",
            "Give it as text, or as several parameters.",
        )


def _value(name: str, value: Any, default: Default) -> Any:
    if isinstance(default, str):
        return value if isinstance(value, str) else str(value)
    parsed = parse(value) if isinstance(value, str) else value
    if default is None or default is ...:
        return parsed
    if isinstance(default, bool):
        kind, right = "true or false", isinstance(parsed, bool)
    elif isinstance(default, int):
        kind, right = "a whole number", isinstance(parsed, int) and not isinstance(parsed, bool)
    elif isinstance(default, float):
        kind, right = "a number", isinstance(parsed, int | float) and not isinstance(parsed, bool)
    elif isinstance(default, list):
        kind, right = "a JSON list", isinstance(parsed, list)
    else:
        kind, right = "a JSON object", isinstance(parsed, dict)
    if not right:
        raise UsageError(f"The parameter {name} is {kind}, not {value!r}.", f"Its default is {default!r}.")
    return parsed
