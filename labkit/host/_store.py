"""Save the facts of a host, and load them on another machine to diagnose it there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labkit.errors import DataError, UsageError
from labkit.files import read_named
from labkit.host._model import Fact, Facts, KernelLog, LogLine, LogState, Missing

_FORMAT = "labkit-host-facts/1"
_MAX_SIZE = 16 << 20
_MSR_DIGITS = len("0x") + 16
_REMEDY = "Save them again with `labkit verify --save FACTS.json` on the host in question."


def save(facts: Facts, path: Path) -> None:
    """Write facts as one JSON document.

    Raises:
        OSError: the file cannot be written.
    """
    path.write_text(json.dumps(facts.to_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load(path: Path | str) -> Facts:
    """Read facts that `save` wrote.

    Raises:
        DataError: the file is too large or not what `save` writes.
        OSError: the file cannot be read.
    """
    try:
        data = read_named(Path(path), _MAX_SIZE)
    except UsageError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        raise DataError(f"{path} does not hold the facts of a host: {error.message}", _REMEDY) from error
    try:
        return _facts(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise DataError(f"{path} does not hold the facts of a host ({error}).", _REMEDY) from error


def _facts(document: dict[str, Any]) -> Facts:
    if document["format"] != _FORMAT:
        raise ValueError(f"its format is not {_FORMAT}")
    items = {str(name): _fact(str(name), entry) for name, entry in document["facts"].items()}
    return Facts(items, _log(document["log"]), emulated=document.get("emulated") is True)


def _fact(name: str, entry: dict[str, Any]) -> Fact:
    value = entry.get("value")
    if isinstance(value, list):
        value = tuple(_text(name, part) for part in value)
    elif not (value is None or isinstance(value, bool | int | str)):
        raise ValueError(f"fact {name} has a value of the wrong kind")
    missing = Missing(entry["missing"]) if "missing" in entry else None
    if (value is None) is (missing is None):
        raise ValueError(f"fact {name} needs either a value or a reason why it is missing")
    if name.startswith("msr.") and value is not None:
        _check_msr(name, value)
    raw, why = _text(name, entry.get("raw", "")), _text(name, entry.get("why", ""))
    return Fact(_text(name, entry["source"]), value, raw, missing, why)


def _check_msr(name: str, value: object) -> None:
    if not isinstance(value, tuple) or not value:
        raise ValueError(f"fact {name} needs a list of hexadecimal values")
    for part in value:
        if len(part) > _MSR_DIGITS or int(part, 16) < 0:
            raise ValueError(f"fact {name} has a value that is not an MSR's")


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"fact {name} has something that is not text")
    return value


def _log(entry: dict[str, Any]) -> KernelLog:
    first = entry.get("first_seconds")
    return KernelLog(
        LogState(entry["state"]),
        _text("log", entry["source"]),
        _lines(entry["lines"]),
        why=_text("log", entry.get("why", "")),
        total_lines=int(entry["total_lines"]),
        first_seconds=None if first is None else float(first),
        from_boot=entry.get("from_boot") is True,
        boots=int(entry.get("boots", 1)),
        unread=_lines(entry.get("unread", [])),
    )


def _lines(rows: list[Any]) -> tuple[LogLine, ...]:
    return tuple(
        LogLine(_text("log", text), None if seconds is None else float(seconds), int(count))
        for seconds, text, count in rows
    )
