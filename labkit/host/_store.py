"""Save the facts of a host, and load them on another machine to diagnose it there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from labkit.errors import DataError, UsageError
from labkit.files import printable, read_named, strict_json
from labkit.host.model import Fact, Facts, KernelLog, LogLine, LogState, Missing
from labkit.show import clean, one_line

_FORMAT = "labkit-host-facts/1"
_MAX_SIZE = 16 << 20
_MSR = re.compile(r"0x[0-9a-fA-F]{1,16}")
_LONGEST_NAME = 80
_MOST_LINES = 5000
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
            error.__cause__.filename = error.__cause__.filename or str(path)
            raise error.__cause__ from None
        raise DataError(
            f"{printable(path)} does not hold the facts of a host: {error.message}", _REMEDY
        ) from error
    try:
        return _facts(_object(strict_json(data), "the document"))
    except ValueError as error:
        raise DataError(f"{printable(path)} does not hold the facts of a host: {error}.", _REMEDY) from error


def _facts(document: dict[str, Any]) -> Facts:
    if document.get("format") != _FORMAT:
        raise ValueError(f"its format is not {_FORMAT}")
    facts = _object(document.get("facts"), "facts")
    items = {
        name: _fact(_shown(name), _object(entry, f"fact {_shown(name)}")) for name, entry in facts.items()
    }
    log = _log(_object(document.get("log"), "log"))
    emulated = document.get("emulated", False)
    if not isinstance(emulated, bool):
        raise ValueError("emulated is neither true nor false")
    return Facts(items, log, emulated=emulated)


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not a JSON object")
    return value


def _fact(name: str, entry: dict[str, Any]) -> Fact:
    value = entry.get("value")
    if isinstance(value, list):
        value = tuple(_text(name, part) for part in value)
    elif isinstance(value, str):
        value = _text(name, value)
    elif not (value is None or isinstance(value, bool | int)):
        raise ValueError(f"{name} has a value of the wrong kind")
    missing = entry.get("missing")
    if missing is not None and missing not in list(Missing):
        raise ValueError(f"{name} is missing for a reason that labkit does not know")
    if (value is None) is (missing is None):
        raise ValueError(f"{name} needs either a value or a reason why it is missing")
    if isinstance(value, int) and abs(value) >> 64:
        raise ValueError(f"{name} has a number of more than 64 bits")
    if name.startswith("msr.") and value is not None:
        _check_msr(name, value)
    raw, why = (_text(name, entry.get(key, "")) for key in ("raw", "why"))
    return Fact(
        _text(name, entry.get("source")), value, raw, Missing(missing) if missing is not None else None, why
    )


def _check_msr(name: str, value: object) -> None:
    if not isinstance(value, tuple) or not value:
        raise ValueError(f"{name} needs a list of hexadecimal values")
    if not all(_MSR.fullmatch(part) for part in value):
        raise ValueError(f"{name} has a value that is not an MSR's")


def _text(name: str, value: object) -> str:
    """Text that cannot pass for a line of a report: what moves a cursor or ends a line is made visible."""
    if not isinstance(value, str):
        raise ValueError(f"{name} has something that is not text")
    return value if value.isprintable() else clean(value).replace("\n", "␊")


def _shown(name: str) -> str:
    return one_line(name, _LONGEST_NAME)


def _count(entry: dict[str, Any], key: str, default: int | None = None) -> int:
    value = entry.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise ValueError(f"{key} of the log is not a count")
    return value


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise ValueError("a time of the log is not a number of seconds")
    return float(value)


def _log(entry: dict[str, Any]) -> KernelLog:
    if entry.get("state") not in list(LogState):
        raise ValueError("state of the log is none that labkit knows")
    return KernelLog(
        LogState(entry["state"]),
        _text("log", entry.get("source")),
        _lines(entry.get("lines")),
        why=_text("log", entry.get("why", "")),
        total_lines=_count(entry, "total_lines"),
        first_seconds=_seconds(entry.get("first_seconds")),
        from_boot=entry.get("from_boot") is True,
        boots=_count(entry, "boots", 1),
        unread=_lines(entry.get("unread", [])),
        machines=tuple(_text("log", name) for name in _list(entry.get("machines", []))),
    )


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MOST_LINES:
        raise ValueError(f"the log has no list, or one of more than {_MOST_LINES} entries")
    return value


def _lines(rows: Any) -> tuple[LogLine, ...]:
    found = []
    for row in _list(rows):
        if not isinstance(row, list) or len(row) != len(("seconds", "text", "count")):
            raise ValueError("a line of the log is not a list of seconds, text and count")
        seconds, text, count = row
        found.append(LogLine(_text("log", text), _seconds(seconds), _count({"count": count}, "count")))
    return tuple(found)
