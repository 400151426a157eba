"""The states of module, KeyID, TD, vCPU, page and Secure EPT entry, and what each of them allows.

Facts of ``include/auto_gen/{op_state,sept_state}_lookup.c`` and the data structure headers of
intel/tdx-module, branch ``tdx_1.5``, commit 72d8cffb (MIT, Copyright (C) 2023 Intel Corporation).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class SysState(IntEnum):
    """Life of the module."""

    SYSINIT_PENDING = 0
    SYSINIT_DONE = 1
    SYSCONFIG_DONE = 2
    SYS_READY = 3
    SYS_SHUTDOWN = 4


class KeyState(IntEnum):
    """Life of a private KeyID (entry of the KeyID ownership table, KOT)."""

    FREE = 0
    ASSIGNED = 1
    FLUSHED = 2
    RESERVED = 3


class LifeCycle(IntEnum):
    """Life of a TD as its root page (TDR) tells it."""

    HKID_ASSIGNED = 0
    KEYS_CONFIGURED = 1
    BLOCKED = 2
    TEARDOWN = 3


class OpState(IntEnum):
    """Operation state of a TD (OP_STATE in its control structure, TDCS)."""

    UNINITIALIZED = 0
    INITIALIZED = 1
    RUNNABLE = 2
    LIVE_EXPORT = 3
    PAUSED_EXPORT = 4
    POST_EXPORT = 5
    MEMORY_IMPORT = 6
    STATE_IMPORT = 7
    POST_IMPORT = 8
    LIVE_IMPORT = 9
    FAILED_IMPORT = 10

    @staticmethod
    def of(letter: str) -> OpState:
        """The state of a letter in the leaf table."""
        return OpState("UIRLPXMSQVF".index(letter))


# While the TD may run in one of these, taking a translation away needs block and track first.
TRACKING_STATES = frozenset({OpState.RUNNABLE, OpState.LIVE_EXPORT, OpState.LIVE_IMPORT})
IMPORT_STATES = frozenset(
    {OpState.MEMORY_IMPORT, OpState.STATE_IMPORT, OpState.POST_IMPORT, OpState.LIVE_IMPORT}
)


class VcpuState(IntEnum):
    """State of a vCPU."""

    UNINITIALIZED = 0
    READY = 2
    ACTIVE = 4
    DISABLED = 8
    IMPORT = 0x10


class PageType(IntEnum):
    """What the PAMT says a physical page is."""

    NDA = 0
    RSVD = 1
    REG = 3
    TDR = 4
    TDCX = 5
    TDVPR = 6
    EPT = 8


class Septe(IntEnum):
    """State of a Secure EPT entry, by its encoding: entry bits 7:6, 56:53 and 9."""

    FREE = 0x0E
    REMOVED = 0x0C
    NL_MAPPED = 0x00
    NL_BLOCKED = 0x08
    MAPPED = 0x60
    BLOCKED = 0x68
    BLOCKEDW = 0x64
    EXPORTED_BLOCKEDW = 0x66
    EXPORTED_DIRTY = 0x63
    EXPORTED_DIRTY_BLOCKEDW = 0x67
    PENDING = 0x70
    PENDING_BLOCKED = 0x78
    PENDING_BLOCKEDW = 0x74
    PENDING_EXPORTED_BLOCKEDW = 0x76
    PENDING_EXPORTED_DIRTY = 0x73
    PENDING_EXPORTED_DIRTY_BLOCKEDW = 0x77


@dataclass(frozen=True)
class SepteTraits:
    """What follows from the state of an entry; public is the number MEM.SEPT.RD shows."""

    public: int
    leaf: bool
    pending: bool
    blocked: bool
    tracked: bool
    readable: bool
    writable: bool
    acceptable: bool
    mapped_or_pending: bool


# state: public number, then letters: l leaf, p pending, b blocked, t needs TLB tracking, r and w readable
# and writable by the guest, a acceptable by the guest, m mapped or pending and nothing else.
_TRAITS = {
    Septe.FREE: (0, ""),
    Septe.REMOVED: (5, ""),
    Septe.NL_MAPPED: (132, "t"),
    Septe.NL_BLOCKED: (129, "bt"),
    Septe.MAPPED: (4, "ltrwm"),
    Septe.BLOCKED: (1, "lbt"),
    Septe.BLOCKEDW: (8, "ltr"),
    Septe.EXPORTED_BLOCKEDW: (9, "lr"),
    Septe.EXPORTED_DIRTY: (11, "ltrw"),
    Septe.EXPORTED_DIRTY_BLOCKEDW: (12, "ltr"),
    Septe.PENDING: (2, "lptam"),
    Septe.PENDING_BLOCKED: (3, "lpbt"),
    Septe.PENDING_BLOCKEDW: (16, "lpt"),
    Septe.PENDING_EXPORTED_BLOCKEDW: (17, "lp"),
    Septe.PENDING_EXPORTED_DIRTY: (19, "lpta"),
    Septe.PENDING_EXPORTED_DIRTY_BLOCKEDW: (20, "lpt"),
}
TRAITS = {
    state: SepteTraits(
        public=public,
        leaf="l" in letters,
        pending="p" in letters,
        blocked="b" in letters,
        tracked="t" in letters,
        readable="r" in letters,
        writable="w" in letters,
        acceptable="a" in letters,
        mapped_or_pending="m" in letters,
    )
    for state, (public, letters) in _TRAITS.items()
}

_MIGRATION = frozenset(Septe) - {
    Septe.FREE,
    Septe.REMOVED,
    Septe.NL_MAPPED,
    Septe.NL_BLOCKED,
    Septe.MAPPED,
    Septe.BLOCKED,
    Septe.PENDING,
    Septe.PENDING_BLOCKED,
}
_EXPORTED = frozenset(state for state in Septe if "EXPORTED" in state.name)
_BLOCKED_FOR_WRITING = frozenset(state for state in Septe if state.name.endswith("BLOCKEDW"))
_LEAF_STATES = frozenset(state for state in Septe if TRAITS[state].leaf)

# Which leaf may be called on an entry in which state; refused otherwise with EPT_ENTRY_STATE_INCORRECT or a
# more exact code of that leaf.
SEPT_ALLOWED: dict[str, frozenset[Septe]] = {
    "TDH.MEM.PAGE.ADD": frozenset({Septe.FREE}),
    "TDH.MEM.SEPT.ADD": frozenset({Septe.FREE, Septe.NL_MAPPED}),
    "TDH.MEM.PAGE.RELOCATE": _LEAF_STATES,
    "TDH.MEM.PAGE.AUG": frozenset({Septe.FREE, Septe.REMOVED}),
    "TDH.MEM.RANGE.BLOCK": frozenset(
        {Septe.NL_MAPPED, Septe.MAPPED, Septe.BLOCKEDW, Septe.PENDING, Septe.PENDING_BLOCKEDW}
    ),
    "TDH.MEM.RD": frozenset(state for state in Septe if TRAITS[state].readable),
    "TDH.MEM.WR": frozenset({Septe.MAPPED, Septe.EXPORTED_DIRTY}),
    "TDH.MEM.PAGE.DEMOTE": frozenset({Septe.MAPPED, Septe.BLOCKED, Septe.PENDING, Septe.PENDING_BLOCKED}),
    "TDH.MR.EXTEND": frozenset({Septe.MAPPED}),
    "TDH.MEM.PAGE.PROMOTE": frozenset({Septe.NL_MAPPED, Septe.NL_BLOCKED}),
    "TDH.MEM.SEPT.RD": frozenset(Septe),
    "TDH.MEM.PAGE.REMOVE": frozenset(
        {
            Septe.MAPPED,
            Septe.BLOCKED,
            Septe.BLOCKEDW,
            Septe.PENDING,
            Septe.PENDING_BLOCKED,
            Septe.PENDING_BLOCKEDW,
        }
    ),
    "TDH.MEM.SEPT.REMOVE": frozenset({Septe.NL_MAPPED, Septe.NL_BLOCKED}),
    "TDH.MEM.RANGE.UNBLOCK": frozenset({Septe.NL_BLOCKED, Septe.BLOCKED, Septe.PENDING_BLOCKED}),
    "TDH.EXPORT.BLOCKW": frozenset(
        {Septe.MAPPED, Septe.EXPORTED_DIRTY, Septe.PENDING, Septe.PENDING_EXPORTED_DIRTY}
    ),
    "TDH.EXPORT.RESTORE": _EXPORTED,
    "TDH.EXPORT.MEM": _MIGRATION | {Septe.MAPPED, Septe.PENDING},
    "TDH.EXPORT.UNBLOCKW": _BLOCKED_FOR_WRITING,
    "TDH.IMPORT.MEM": frozenset({Septe.FREE, Septe.REMOVED, Septe.MAPPED, Septe.PENDING}),
    "TDG.MEM.PAGE.ACCEPT": frozenset({Septe.PENDING, Septe.PENDING_EXPORTED_DIRTY}),
    "TDG.MEM.PAGE.ATTR.RD": _MIGRATION | {Septe.MAPPED, Septe.PENDING},
    "TDG.MEM.PAGE.ATTR.WR": frozenset(
        {Septe.MAPPED, Septe.EXPORTED_DIRTY, Septe.PENDING, Septe.PENDING_EXPORTED_DIRTY}
    ),
}
