"""Lines that have the kernel's words and cannot be taken for its own: they prove nothing, and are said."""

from __future__ import annotations

import re
from functools import lru_cache

from labkit.host._message import INITIALISATION, Message, Role
from labkit.host._messages import MESSAGES, classify
from labkit.host.wrapping import CLOSING, Unwrapped, unwrap

_TELLING = re.compile(r"(?:virt/tdx|(?<![\w/])tdx|seam|SEAM|kvm_intel|x86/tme): ")
# Words that programs have too: told only where the kernel's stamp or name is right before them.
_STAMPED = re.compile(
    r"(?:\[\s{0,12}\d+\.\d+\]{1,2}|\bkernel:)(?:\s{0,4}\[[^\[\]]{1,40}\])?\s+"
    r"(?=smpboot: CPU0: |process: |Memory Encryption |x86/|Kernel panic )|(?=Linux version \d)"
)
_SAID = (*INITIALISATION, Role.GUEST, Role.MEMORY)
_STAMP = re.compile(r"\[\s{0,12}\d+\.\d{6}\]\s+")
# Another program that hands on the kernel's lines.
_RELAYED = re.compile(r"[\w.-]{1,40}(?:\[\d+\])?:\s+")
# How a success line begins that was cut.
_CUT = re.compile(r"(?:virt/)?tdx: (?:TDX-M|M|m)odule(?: i[a-z]*)?")
_DECIDE = (Role.START, Role.SUCCESS, Role.FAILURE, Role.GUEST, Role.MEMORY)
_GROUP = re.compile(r"\(\?P<\w+>")


def sounds_like_tdx(entry: Unwrapped, kind: str) -> bool:
    """A line has the words of the initialisation and cannot be taken for the kernel's own.

    ``kind`` is the id of the message that it was taken for, empty for none.
    """
    if not entry.foreign and (kind or entry.known):
        if kind in ("", "core-other") and (_CUT.fullmatch(entry.message) or _followed(entry.message)):
            return True
        return any(classify(_bare(part)) for part in _STAMP.split(entry.message)[1:])
    if entry.foreign and (name := _RELAYED.match(entry.message)):
        inner = unwrap(entry.message[name.end() :])
        return not inner.foreign and _tells(classify(inner.message))
    if entry.foreign:
        return False
    places = [*(found.start() for found in _TELLING.finditer(entry.message))]
    places += [found.end() for found in _STAMPED.finditer(entry.message)]
    return any(
        _tells(classify(_bare(entry.message[place:]))) or _followed(entry.message[place:]) for place in places
    )


def decisive(message: str) -> bool:
    """The whole message is one of the kernel's about TDX."""
    return _tells(classify(message))


def _bare(message: str) -> str:
    return CLOSING.sub("", message.rstrip("\"'` }"))


def _tells(found: tuple[Message, re.Match[str]] | None) -> bool:
    if found is None or found[0].id in ("core-other", "cmdline"):
        return False
    return found[0].role in _SAID or found[0].id in ("linux", "cpu", "panic")


def _followed(message: str) -> bool:
    """A whole decisive message with something behind it that is not the kernel's."""
    found = _decisive_start().match(message)
    return bool(found and found.end() < len(message))


@lru_cache(maxsize=1)
def _decisive_start() -> re.Pattern[str]:
    """How a line begins that would decide, were nothing behind it."""
    whole = [
        rf"(?:{'|'.join(map(re.escape, row.heads))})(?:{re.sub(_GROUP, '(?:', row.body)})"
        for row in MESSAGES
        if row.role in _DECIDE and row.id != "guest-cc"
    ]
    return re.compile(rf"(?:{'|'.join(whole)})(?!\w)")
