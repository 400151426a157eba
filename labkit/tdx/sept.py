"""Secure EPT: 64-bit entries with their true bit layout, and the tree that translates private addresses.

Layout after ``ia32e_sept_t`` in intel/tdx-module, branch ``tdx_1.5``, commit 72d8cffb: bits 0-2 read, write,
execute; 3-5 memory type (6 write back); 6 ignore PAT; 7 leaf; 8 accessed; 9 dirty; 11 lock; 51:12 physical
address, without a KeyID: the processor puts the TD's own on it; 52 host priority; 53 exported; 54 blocked for
writing; 55 blocked; 56 pending; 63 suppress #VE.
"""

from __future__ import annotations

from labkit.tdx.states import TRAITS, Septe

_PFN_MASK = (1 << 40) - 1
_SUPPRESS_VE = 1 << 63
_WRITE_BACK = 6 << 3
_RWX = 7
# What the host is shown of an entry that maps memory: permissions, memory type, ignore PAT, leaf, address,
# suppress #VE. Of one that points to a table it sees the permissions only.
_SHOWN_OF_LEAF = 0xFF | _PFN_MASK << 12 | _SUPPRESS_VE
_SHOWN_OF_TABLE = _RWX


def _bits(state: Septe) -> int:
    return (state >> 5 & 3) << 6 | (state >> 1 & 0xF) << 53 | (state & 1) << 9


_STATE_BITS = {state: _bits(state) for state in Septe}
_STATE_MASK = 3 << 6 | 0xF << 53 | 1 << 9
_STATE_OF = {bits: state for state, bits in _STATE_BITS.items()}

FREE_ENTRY = _STATE_BITS[Septe.FREE] | _SUPPRESS_VE


def entry_state(entry: int) -> Septe:
    """The state that the seven state bits of an entry encode."""
    return _STATE_OF[entry & _STATE_MASK]


def entry_page(entry: int) -> int:
    """The page number in an entry."""
    return entry >> 12 & _PFN_MASK


def make_entry(state: Septe, page: int) -> int:
    """An entry in a state that points to a page."""
    traits = TRAITS[state]
    entry = _STATE_BITS[state] | page << 12 | _SUPPRESS_VE
    if state is Septe.NL_MAPPED or traits.writable:
        entry |= _RWX
    elif traits.readable:
        entry |= _RWX & ~2
    return entry | _WRITE_BACK if traits.leaf else entry


def with_state(entry: int, state: Septe) -> int:
    """The same mapping in another state."""
    return make_entry(state, entry_page(entry))


def shown_entry(entry: int, state: Septe) -> int:
    """An entry as the module shows it to the host: state bits, lock and the address of tables are hidden."""
    if state is Septe.FREE:
        return _SUPPRESS_VE
    return entry & (_SHOWN_OF_LEAF if TRAITS[state].leaf else _SHOWN_OF_TABLE)


class SeptPage:
    """One page of 512 entries; level is that of its entries (0: they map 4 KiB)."""

    __slots__ = ("entries", "level", "pfn")

    def __init__(self, pfn: int, level: int) -> None:
        self.pfn = pfn
        self.level = level
        self.entries = [FREE_ENTRY] * 512


class SeptTree:
    """The tree of one TD, rooted in one of its TDCX pages; top is the level of the root's entries."""

    def __init__(self, root_pfn: int, top: int) -> None:
        self.top = top
        self.root = SeptPage(root_pfn, top)
        self.pages: dict[int, SeptPage] = {}
        # The last page of 4 KiB entries that a walk reached; emptied when a non-leaf entry changes.
        self.near: dict[int, SeptPage] = {}

    def walk(self, gpa: int, level: int) -> tuple[SeptPage, int, int]:
        """Go down to the entry of a level, or stop above it where the tree does not go on.

        Returns the page, the index in it and the level reached.
        """
        if level == 0:
            near = self.near.get(gpa >> 21)
            if near is not None:
                return near, gpa >> 12 & 511, 0
        page = self.root
        at = self.top
        while True:
            index = gpa >> 12 + 9 * at & 511
            if at == level:
                if level == 0:
                    self.near[gpa >> 21] = page
                return page, index, at
            entry = page.entries[index]
            if entry & _STATE_MASK:
                return page, index, at
            page = self.pages[entry >> 12 & _PFN_MASK]
            at -= 1

    def set(self, page: SeptPage, index: int, entry: int) -> None:
        """Replace an entry."""
        page.entries[index] = entry
        if page.level:
            self.near.clear()

    def add(self, parent: SeptPage, index: int, pfn: int) -> SeptPage:
        """Hang a new empty page below an entry."""
        page = self.pages[pfn] = SeptPage(pfn, parent.level - 1)
        parent.entries[index] = make_entry(Septe.NL_MAPPED, pfn)
        return page

    def drop(self, entry: int) -> SeptPage:
        """Take the page below an entry out of the tree."""
        self.near.clear()
        return self.pages.pop(entry_page(entry))

    def leaves(self) -> list[tuple[int, int, int]]:
        """All entries that are leaves, as (guest address, level, entry), in address order."""
        found: list[tuple[int, int, int]] = []
        self._collect(self.root, 0, found)
        return found

    def _collect(self, page: SeptPage, base: int, found: list[tuple[int, int, int]]) -> None:
        if page.entries.count(FREE_ENTRY) == 512:
            return
        for index in [i for i, entry in enumerate(page.entries) if entry != FREE_ENTRY]:
            entry = page.entries[index]
            gpa = base | index << 12 + 9 * page.level
            state = entry_state(entry)
            if TRAITS[state].leaf:
                found.append((gpa, page.level, entry))
            elif state in (Septe.NL_MAPPED, Septe.NL_BLOCKED):
                self._collect(self.pages[entry_page(entry)], gpa, found)
