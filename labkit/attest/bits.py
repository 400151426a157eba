"""TD ATTRIBUTES and XFAM, bit by bit.

Source: Intel TDX Module 1.5 ABI, ATTRIBUTES and XFAM. Names marked "newer module" are taken from later
documents and were not checked against a module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DEBUG = 1 << 0
SEPT_VE_DISABLE = 1 << 28


@dataclass(frozen=True)
class Bit:
    """A set bit: its number, its name, what it means. ``known`` is false for reserved bits."""

    number: int
    name: str
    meaning: str
    known: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Number, name and meaning."""
        return {"bit": self.number, "name": self.name, "meaning": self.meaning, "known": self.known}

    def __str__(self) -> str:
        return self.name


_ATTRIBUTES = {
    0: ("DEBUG", "the VMM can read and change the TD: trust nothing in it"),
    4: ("HGS_PLUS_PROF", "hardware feedback profiling (newer module)"),
    5: ("PERF_PROF", "performance profiling (newer module)"),
    6: ("PMT_PROF", "platform monitoring profiling (newer module)"),
    16: ("ICSSD", "indirect-branch side-channel setting (newer module)"),
    27: ("LASS", "linear address space separation (newer module)"),
    28: ("SEPT_VE_DISABLE", "an access to a page not accepted is a TD exit, and no #VE in the guest"),
    29: ("MIGRATABLE", "the TD can be moved to another machine"),
    30: ("PKS", "supervisor protection keys"),
    31: ("KL", "Key Locker"),
    62: ("TPA", "TD partitioning attestation (newer module)"),
    63: ("PERFMON", "performance counters inside the TD"),
}
_XFAM = {
    0: ("x87", "floating point (always on)"),
    1: ("SSE", "128-bit vectors (always on)"),
    2: ("AVX", "256-bit vectors"),
    5: ("AVX-512 opmask", "mask registers"),
    6: ("AVX-512 high 256", "upper halves of the first 16 registers"),
    7: ("AVX-512 high 16", "16 further registers"),
    8: ("PT", "processor trace"),
    9: ("PKRU", "user protection keys"),
    11: ("CET user", "control-flow enforcement, user"),
    12: ("CET supervisor", "control-flow enforcement, supervisor"),
    14: ("UINTR", "user interrupts"),
    15: ("LBR", "last branch records"),
    17: ("AMX config", "matrix tile configuration"),
    18: ("AMX data", "matrix tile data"),
}


def td_attributes(value: int) -> tuple[Bit, ...]:
    """The set bits of a TD's ATTRIBUTES; bits 0 to 7 all mean that the TD cannot be trusted."""
    return _bits(value, _ATTRIBUTES)


def xfam(value: int) -> tuple[Bit, ...]:
    """The set bits of XFAM: which processor state the TD may use."""
    return _bits(value, _XFAM)


def names(bits: tuple[Bit, ...]) -> str:
    """The set bits in one line."""
    return ", ".join(map(str, bits)) or "none"


def _bits(value: int, table: dict[int, tuple[str, str]]) -> tuple[Bit, ...]:
    found = []
    for number in range(64):
        if value >> number & 1:
            if number in table:
                found.append(Bit(number, *table[number]))
            else:
                found.append(Bit(number, f"reserved bit {number}", "must be zero", known=False))
    return tuple(found)
