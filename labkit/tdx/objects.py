"""The module's own records: PAMT, KeyID ownership, and the control structures of TDs, vCPUs and processors.

Shapes after ``include/.../{pamt_manager,tdr,tdcs,tdvps}`` of intel/tdx-module, branch ``tdx_1.5``, commit
72d8cffb. On a real platform they lie in memory encrypted under private keys; here they are Python objects,
and only the owner bits of their pages are kept in the model's memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from labkit.tdx._locks import Lock, walk_locks
from labkit.tdx.params import Tdmr, TdParams
from labkit.tdx.phys import Key
from labkit.tdx.sept import SeptTree
from labkit.tdx.states import KeyState, LifeCycle, OpState, PageType, VcpuState

MIN_TDCX = 6
MAX_TDCX = 9
# Pages of a vCPU, its TDVPR included: without nested VMs, and with three of them.
TDVPS_PAGES = 6
MAX_TDVPS_PAGES = 15
NO_LP = -1


class PamtEntry:
    """What the module knows about one physical page: type, owning TD (its TDR page), block epoch.

    Only the type is cleared when a page becomes free; owner and epoch stay until the next use.
    """

    __slots__ = ("bepoch", "owner", "type")

    def __init__(self) -> None:
        self.type = PageType.NDA
        self.owner = 0
        self.bepoch = 0


class Pamt:
    """The physical-address-metadata table in three page sizes; an entry that was never used is absent.

    An entry of a large size that is in use (REG) covers its range: a walk ends there.
    """

    def __init__(self) -> None:
        self.sizes: tuple[dict[int, PamtEntry], ...] = ({}, {}, {})
        self.ready: list[tuple[int, int]] = []
        # How many entries of 2 MiB and 1 GiB are in use: walks look at those sizes only where there are any.
        self.large = 0
        self._holes: list[tuple[int, int]] = []
        self._used: dict[int, int] = {}

    def configure(self, tdmr: Tdmr) -> None:
        """Take in the reserved areas of a TDMR."""
        for offset, size in tdmr.reserved:
            if size:
                first = tdmr.base + offset >> 12
                self._holes.append((first, first + (size >> 12)))

    def covered(self, pfn: int) -> bool:
        """Whether the page lies in initialized TDMR memory."""
        for first, end in self.ready:  # noqa: SIM110 (half of every call's time with any())
            if first <= pfn < end:
                return True
        return False

    def find(self, pfn: int) -> tuple[PamtEntry | None, int]:
        """The entry at which a walk for a 4 KiB page ends, and its level (0, 1, 2)."""
        if self.large:
            for level in (2, 1):
                entry = self.sizes[level].get(pfn >> 9 * level)
                if entry is not None and entry.type is PageType.REG:
                    return entry, level
        return self.sizes[0].get(pfn), 0

    def type_of(self, pfn: int) -> PageType:
        """The page type that covers a 4 KiB page."""
        entry, _ = self.find(pfn)
        if entry is not None:
            return entry.type
        if self._holes and any(first <= pfn < end for first, end in self._holes):
            return PageType.RSVD
        return PageType.NDA

    def free_2m(self, pfn: int) -> bool:
        """Whether all 4 KiB pages of an aligned 2 MiB range are free."""
        if self.find(pfn)[1] or self._used.get(pfn >> 9):
            return False
        return not any(first < pfn + 512 and pfn < end for first, end in self._holes)

    def claim(self, pfn: int, page_type: PageType, owner: int, level: int = 0) -> PamtEntry:
        """Give a free page or range a type and an owner; its block epoch stays as it was."""
        size = self.sizes[level]
        entry = size.get(pfn >> 9 * level)
        if entry is None:
            entry = size[pfn >> 9 * level] = PamtEntry()
        entry.type = page_type
        entry.owner = owner
        if level == 0:
            self._used[pfn >> 9] = self._used.get(pfn >> 9, 0) + 1
        else:
            self.large += 1
        return entry

    def release(self, pfn: int, level: int = 0) -> None:
        """Make a page or range free again: its type, and nothing else."""
        self.sizes[level][pfn >> 9 * level].type = PageType.NDA
        if level == 0:
            self._used[pfn >> 9] -= 1
        else:
            self.large -= 1

    def split(self, pfn: int, level: int) -> None:
        """Turn an entry of 2 MiB or 1 GiB into 512 of the next size below it."""
        large = self.sizes[level][pfn >> 9 * level]
        kind = large.type
        self.release(pfn, level)
        step = 1 << 9 * (level - 1)
        for page in range(pfn, pfn + 512 * step, step):
            self.claim(page, kind, large.owner, level - 1).bepoch = 0

    def merge(self, pfn: int, level: int) -> None:
        """Turn 512 entries into one of 2 MiB or 1 GiB, which keeps its own old block epoch."""
        step = 1 << 9 * (level - 1)
        first = self.sizes[level - 1][pfn >> 9 * (level - 1)]
        kind = first.type
        for page in range(pfn, pfn + 512 * step, step):
            self.release(page, level - 1)
        self.claim(pfn, kind, first.owner, level)


@dataclass
class KotEntry:
    """A private KeyID: its state, and the packages whose caches may still hold its lines."""

    state: KeyState = KeyState.FREE
    wbinvd_bitmap: int = 0


class Tdcs:
    """TD control structure: everything the module keeps about a TD beside its life cycle."""

    def __init__(self) -> None:
        self.op_state = OpState.UNINITIALIZED
        self.params = TdParams()
        self.sept = SeptTree(0, 0)
        self.num_vcpus = 0
        self.num_assoc_vcpus = 0
        self.epoch = 1
        self.refcount = [0, 0]
        self.measurement = hashlib.sha384()
        self.mrtd = bytes(48)
        self.rtmr = [bytes(48) for _ in range(4)]
        self.pending_ve_disable = False
        # The host's own tables for shared addresses: guest page number to physical address with KeyID.
        self.shared_ept: dict[int, int] = {}

    @property
    def debug(self) -> bool:
        """The DEBUG attribute: the host may look inside."""
        return bool(self.params.attributes & 1)

    @property
    def gpa_width(self) -> int:
        """Guest physical address bits: 48 or 52; the shared bit is the topmost."""
        return 52 if self.params.config_flags & 1 else 48

    def tracked(self, bepoch: int) -> bool:
        """Whether no processor can hold a translation from before the block."""
        if bepoch == self.epoch - 1:
            return self.refcount[bepoch & 1] == 0
        return bepoch < self.epoch - 1


class Tdr:
    """TD root: KeyID, life cycle, and the pages that make up the TD."""

    def __init__(self, pfn: int, hkid: int, uuid: bytes) -> None:
        self.pfn = pfn
        self.hkid = hkid
        self.uuid = uuid
        self.key: Key | None = None
        self.lifecycle = LifeCycle.HKID_ASSIGNED
        self.fatal = False
        self.children = 0
        self.tdcx: list[int] = []
        self.packages = 0
        self.tdcs = Tdcs()


@dataclass
class VeInfo:
    """Why a #VE was raised; what TDG.VP.VEINFO.GET returns."""

    reason: int
    qualification: int
    gla: int
    gpa: int


class Tdvps:
    """State of one vCPU."""

    def __init__(self, pfn: int, tdr: Tdr) -> None:
        self.pfn = pfn
        self.tdr = tdr
        self.pages = [pfn]
        self.state = VcpuState.UNINITIALIZED
        self.index = 0
        self.lp = NO_LP
        self.epoch = 0
        self.entered_epoch = 0
        self.last_exit_tsc = 0
        self.gpr: dict[str, int] = {}
        self.ve_info: VeInfo | None = None
        # Translations this vCPU may still use: guest page number to (page number, writable).
        self.tlb: dict[int, tuple[int, bool]] = {}
        # RCX of the TDVMCALL that waits for the host's answer; None after another exit.
        self.vmcall: int | None = None
        self.program: Generator[Any, Any, Any] | None = None
        self.retry: Any = None
        # What it keeps locked, shared, while it runs: the walk to its TDVPR, and its TDR's entry.
        self.locks: tuple[Lock, ...] = (*walk_locks(pfn), ("PAGE", tdr.pfn))


@dataclass
class Lp:
    """One logical processor."""

    index: int
    package: int
    initialized: bool = False
    active: Tdvps | None = None
    interrupt: bool = False
