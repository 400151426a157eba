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
# How lines begin that decide: one that ends before its own end was cut.
_BEGINNINGS = (
    "module initialized",
    "Module initialized",
    "TDX module initialized",
    "TDX-Module initialized",
    "not enabled by BIOS",
    "[Firmware Bug]: not enabled by BIOS",
    "module not loaded",
    "BIOS enabled: private KeyID range [",
    "initialization failed: Hibernation support is enabled",
    "initialization failed: too few private KeyIDs available",
    "initialization failed: TDMR [",
    "initialization failed: TDMRs exhausted",
    "frame pointer (RBP) clobber bug present, upgrade TDX module",
    "NO_RBP_MOD feature is not supported",
    "SEAMCALL (0x",
    "SEAMCALL failed: CPU ",
    "module initialization failed (",
    "tdx requires kvm.enable_virt_at_load=1",
)
_HEAD = re.compile(r"(?:(?:virt/)?tdx|seam|SEAM|kvm_intel: tdx):(?: |$)")
_DECIDE = (Role.START, Role.SUCCESS, Role.FAILURE, Role.GUEST, Role.MEMORY)
_GROUP = re.compile(r"\(\?P<\w+>")


# What decides, as a picture's text or another hand may have it: spaces and letters that look alike are lost.
_ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "|": "l", "!": "l", " ": None, "\t": None})
_DECIDING = (
    "module initialized",
    "initialization failed",
    "not enabled by bios",
    "bios enabled: private",
    "module not loaded",
    "for tdx",
    "tdx requires",
)


def resembles(message: str) -> bool:
    """A line has the letters of a message that decides, but not as the kernel writes them."""
    letters = _letters(message)
    return "tdx" in letters and any(_letters(words) in letters for words in _DECIDING)


def _letters(text: str) -> str:
    return text.lower().translate(_ALIKE).replace("rn", "m")


def sounds_like_tdx(entry: Unwrapped, kind: str) -> bool:
    """A line has the words of the initialisation and cannot be taken for the kernel's own.

    ``kind`` is the id of the message that it was taken for, empty for none.
    """
    if not entry.foreign and (kind or entry.known):
        if kind in ("", "core-other", "kvm-other"):
            if _cut(entry.message) or _followed(entry.message):
                return True
            if resembles(entry.message) and (kind or not holds_message(entry.message)):
                return True
        return any(classify(_bare(part)) for part in _STAMP.split(entry.message)[1:])
    if entry.foreign and (name := _RELAYED.match(entry.message)):
        inner = unwrap(entry.message[name.end() :])
        return not inner.foreign and _tells(classify(inner.message))
    if entry.foreign:
        return _tells(classify(entry.message))  # a program that is called by the kernel's own word
    return holds_message(entry.message) or resembles(entry.message)


def holds_message(text: str) -> bool:
    """A message of the kernel's stands in the text, whatever stands around it."""
    places = [found.start() for found in _TELLING.finditer(text)]
    places += [found.end() for found in _STAMPED.finditer(text)]
    return any(_tells(classify(_bare(text[place:]))) or _followed(text[place:]) for place in places)


def _cut(message: str) -> bool:
    """The beginning of a message that decides."""
    head = _HEAD.match(message)
    if head is None:
        return False
    said = message[head.end() :].rstrip(".…> ")
    return any(whole.startswith(said) or said.startswith(whole) for whole in _BEGINNINGS)


def decisive(message: str) -> bool:
    """The whole message is one of the kernel's about TDX."""
    return _tells(classify(message))


def _bare(message: str) -> str:
    return CLOSING.sub("", message.rstrip("\"'` }"))


def _tells(found: tuple[Message, re.Match[str]] | None) -> bool:
    if found is None or found[0].id in ("core-other", "kvm-other", "cmdline"):
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
