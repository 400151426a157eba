"""Policies: what evidence must say to be accepted, as data that a person can write and read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from labkit.errors import UsageError
from labkit.files import check_named, read_named, strict_json
from labkit.measure import BootInputs, PageOrder, Prediction, predict, read_tdvf
from labkit.measure.rules import InitrdWord, KernelHeader, RegisterKind, Rules, SecureBoot, Separators
from labkit.show import one_line

TCB_STATUSES = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
)
_LARGEST = 4 << 20
_LONGEST_LINE = 1 << 16
_REMEDY = "Look at `Policy` in labkit.attest for the keys and their values."
_ADVISORY = re.compile(r"INTEL-SA-[0-9]{1,6}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}[ \t\r\n]*)++")
_RULES: dict[str, type[StrEnum]] = {
    "platform": RegisterKind,
    "separators": Separators,
    "initrd_word": InitrdWord,
    "kernel_header": KernelHeader,
    "secure_boot": SecureBoot,
}

_Read = TypeVar("_Read")
Rtmr = bytes | None
_OPEN: tuple[Rtmr, Rtmr, Rtmr, Rtmr] = (None, None, None, None)
_Switch = TypeVar("_Switch", bound=StrEnum)


@dataclass(frozen=True)
class Policy:
    """What is demanded of a quote, its TD and the log of its boot. What is left out is not checked.

    tcb_statuses: TCB statuses that are good enough. forbidden_advisories: Intel advisories that are not.
    allow_debug: accept a TD that its VMM can read; verification refuses such quotes before this counts.
    allow_lab: accept the word of a lab authority, which says nothing about hardware.
    report_data: the 64 bytes that must stand in the quote, such as a fresh nonce.
    mrtd: any of these values. rtmr: expected RTMR0 to RTMR3; ``None`` leaves one open.
    prediction: what the inputs of the boot lead to; what ``mrtd`` and ``rtmr`` do not give follows from it.
    page_order: the order the VMM uses; without it either order of the predicted MRTD will do.
    allow_unpredicted: accept a register with events that the inputs do not decide, if the log shows that all
        its other events are as predicted.
    """

    tcb_statuses: tuple[str, ...] = ("UpToDate",)
    forbidden_advisories: tuple[str, ...] = ()
    allow_debug: bool = False
    allow_lab: bool = False
    report_data: bytes | None = None
    mrtd: tuple[bytes, ...] = ()
    rtmr: tuple[Rtmr, Rtmr, Rtmr, Rtmr] = _OPEN
    prediction: Prediction | None = None
    page_order: PageOrder | None = None
    allow_unpredicted: bool = False


def load_policy(path: Path) -> Policy:
    """Read a policy from JSON; the files that its ``inputs`` name are found beside it.

    Raises:
        UsageError: the file is not a policy.
        DataError: a firmware or kernel it names is none.
    """
    try:
        document = strict_json(read_named(path, _LARGEST))
    except UsageError as error:
        raise UsageError(f"{path} is not a policy: {error.message}", error.remedy) from error
    except ValueError as error:
        raise UsageError(f"{path} is not a policy: {error}.", "Write it as a JSON object.") from error
    return parse_policy(document, lambda name: _read(path.parent / name))


def _read(path: Path) -> bytes:
    check_named(path)  # the policy named it, not the user: no pipe of the user's is meant
    return read_named(path)


def parse_policy(document: Any, read: Callable[[str], bytes]) -> Policy:
    """A policy from its JSON document: the keys are those of `Policy`, registers are hex.

    Instead of ``prediction`` it has ``inputs``: ``firmware``, ``kernel`` and ``initrd`` are names for
    ``read``, ``memory_mib``, ``command_line``, ``acpi`` and ``smbios`` are values, ``rules`` holds version
    switches.

    Raises:
        UsageError: a key is unknown, or a value is not of its kind.
        DataError: a firmware or kernel is none.
    """
    if not isinstance(document, dict):
        raise UsageError("A policy is a JSON object.", _REMEDY)
    known = {item.name for item in fields(Policy)} - {"prediction"} | {"inputs"}
    unknown = sorted(set(document) - known)
    if unknown:
        raise UsageError(
            f"A policy has no key {_shown(unknown[0])}.", f"Its keys are: {', '.join(sorted(known))}."
        )
    try:
        return Policy(
            tcb_statuses=_at(document, "tcb_statuses", _statuses, ("UpToDate",)),
            forbidden_advisories=_at(document, "forbidden_advisories", _advisories, ()),
            allow_debug=_flag(document, "allow_debug"),
            allow_lab=_flag(document, "allow_lab"),
            report_data=_at(document, "report_data", lambda value: _bytes(value, 64), None),
            mrtd=_at(document, "mrtd", _mrtds, ()),
            rtmr=_at(document, "rtmr", _rtmrs, _OPEN),
            prediction=_prediction(document["inputs"], read) if "inputs" in document else None,
            page_order=_at(document, "page_order", _page_order, None),
            allow_unpredicted=_flag(document, "allow_unpredicted"),
        )
    except ValueError as error:
        raise UsageError(f"A value of the policy is wrong: {error}.", _REMEDY) from error


def _at(document: Mapping[str, Any], key: str, read: Callable[[Any], _Read], default: _Read) -> _Read:
    """The value of a key, read; what is wrong with it is said with the key."""
    if key not in document:
        return default
    try:
        return read(document[key])
    except ValueError as error:
        raise ValueError(str(error) if key in str(error) else f"{key}: {error}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is not text")
    if not value:
        raise ValueError("a text is empty")
    return value


def _shown(value: Any) -> str:
    """A value as the policy has it, in one line."""
    shown = one_line(value if isinstance(value, str) else json.dumps(value), 100)
    return f"'{shown}'" if isinstance(value, str) else shown


def _statuses(words: Any) -> tuple[str, ...]:
    if not _list(words):
        raise ValueError("tcb_statuses is an empty list, which no platform could meet")
    return tuple(_status(word) for word in words)


def _status(word: str) -> str:
    if _text(word) not in TCB_STATUSES:
        raise ValueError(f"{_shown(word)} is not a TCB status; there are {', '.join(TCB_STATUSES)}")
    return word


def _advisories(words: Any) -> tuple[str, ...]:
    return tuple(_advisory(word) for word in _list(words))


def _advisory(word: str) -> str:
    """The number of an advisory: one that is written in another way would never be found."""
    if not _ADVISORY.fullmatch(_text(word)):
        raise ValueError(f"{_shown(word)} is not the number of an advisory, like INTEL-SA-00837")
    return word


def _one_of(kind: type[_Switch], value: Any) -> _Switch:
    words = [member.value for member in kind]
    if value not in words:
        raise ValueError(f"{_shown(value)} is none of {', '.join(words)}")
    return kind(value)


def _page_order(value: Any) -> PageOrder | None:
    return None if value is None else _one_of(PageOrder, value)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{_shown(value)} is not a list")
    return value


def _flag(document: Mapping[str, Any], key: str) -> bool:
    value = document.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"{key} is {_shown(value)}, neither true nor false")
    return value


def _integer(value: Any, least: int, largest: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= largest:
        raise ValueError(f"{_shown(value)} is not a number from {least} to {largest}")
    return value


def _bytes(value: str | None, size: int) -> bytes | None:
    if value is None:
        return None
    if not _HEX.fullmatch(_text(value)):
        raise ValueError(f"{_shown(value)} is not hexadecimal")
    data = bytes.fromhex(value)
    if len(data) != size:
        raise ValueError(f"{len(data)} bytes stand where {size} are needed")
    return data


def _memory(value: Any) -> int | None:
    """A memory size in MiB, in bytes."""
    return None if value is None else _integer(value, 1, 1 << 32) << 20


def _line(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.isprintable() or len(value) > _LONGEST_LINE:
        raise ValueError(f"the command line is {_shown(value)}, not a line of text that a kernel takes")
    return value


def _mrtds(values: Any) -> tuple[bytes, ...]:
    if not _list(values):
        raise ValueError("mrtd is an empty list; leave it out where any value will do")
    return tuple(_register(value) for value in values)


def _register(value: str) -> bytes:
    data = _bytes(value, 48)
    if data is None:
        raise ValueError("a register is missing")
    return data


def _rtmrs(values: Any) -> tuple[Rtmr, Rtmr, Rtmr, Rtmr]:
    if len(_list(values)) != 4:
        raise ValueError(f"rtmr has {len(values)} values, not 4")
    zero, one, two, three = (_bytes(value, 48) for value in values)
    return (zero, one, two, three)


def _prediction(document: Any, read: Callable[[str], bytes]) -> Prediction:
    if not isinstance(document, dict):
        raise ValueError("inputs are not a JSON object")
    if not document:
        raise ValueError("inputs are empty; leave them out where nothing is predicted")
    known = {"firmware", "memory_mib", "kernel", "initrd", "command_line", "acpi", "smbios", "rules"}
    unknown = sorted(set(document) - known)
    if unknown:
        raise ValueError(f"inputs have no key {_shown(unknown[0])}")
    firmware = _at(document, "firmware", _text, None)
    files = {key: read(name) for key in ("kernel", "initrd") if (name := _at(document, key, _text, None))}
    inputs = BootInputs(
        firmware=read_tdvf(read(firmware)) if firmware else None,
        memory=_at(document, "memory_mib", _memory, None),
        kernel=files.get("kernel"),
        initrd=files.get("initrd"),
        command_line=_at(document, "command_line", _line, None),
        acpi=_at(document, "acpi", lambda values: tuple(map(_register, _list(values))), ()),
        smbios=_at(document, "smbios", _register, None),
    )
    rules = document.get("rules", {})
    if not isinstance(rules, dict):
        raise ValueError("rules are not a JSON object")
    rules = dict(rules)
    unknown = sorted(set(rules) - set(_RULES) - {"acpi_events", "smbios_event"})
    if unknown:
        raise ValueError(f"rules have no key {_shown(unknown[0])}")
    acpi_events = _at(rules, "acpi_events", lambda value: _integer(value, 0, 16), 3)
    rules.pop("acpi_events", None)
    smbios_event = _flag(rules, "smbios_event")
    rules.pop("smbios_event", None)
    switches: dict[str, Any] = {
        key: _at(rules, key, partial(_one_of, kind), None) for key, kind in _RULES.items() if key in rules
    }
    return predict(inputs, Rules(**switches, acpi_events=acpi_events, smbios_event=smbios_event))
