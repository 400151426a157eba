"""The machine below the dispatcher: processors, KeyIDs, memory, and the checks that all leaves share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from labkit.errors import NotModelled, UsageError
from labkit.tdx._locks import Locks
from labkit.tdx.leaves import Leaf
from labkit.tdx.objects import MIN_TDCX, KotEntry, Lp, Pamt, Tdcs, Tdr, Tdvps
from labkit.tdx.params import GIB, Tdmr
from labkit.tdx.phys import Integrity, Key, PhysicalMemory, Read
from labkit.tdx.sept import SeptPage, entry_state, shown_entry
from labkit.tdx.states import SEPT_ALLOWED, TRACKING_STATES, TRAITS, LifeCycle, PageType, Septe, SysState
from labkit.tdx.status import Operand, Status

_CONTROL = frozenset({PageType.TDR, PageType.TDCX, PageType.TDVPR, PageType.EPT})


class Refused(Exception):
    """Inside the module: a check failed; value is the whole answer, regs what else goes back."""

    def __init__(self, value: int, **regs: int) -> None:
        super().__init__(value)
        self.value = value
        self.regs = regs


class SeamMachineCheck(Exception):
    """Inside the module: it read a line of its own that was tampered with."""


class GuestExit(Exception):
    """Inside the module: the running guest cannot go on, the host gets the processor back."""

    def __init__(self, value: int, **regs: int) -> None:
        super().__init__(value)
        self.value = value
        self.regs = regs


class GuestFault(Exception):
    """Inside the module: the guest gets an exception, #VE, #DF or #PF."""

    def __init__(self, kind: str, gpa: int) -> None:
        super().__init__(kind, gpa)
        self.kind = kind
        self.gpa = gpa


@dataclass(frozen=True)
class PlatformConfig:
    """What kind of machine to model.

    max_pa: physical address bits, 52 on every machine that the module starts on; keyid_bits of them, at the
    top, hold the KeyID; private KeyIDs start at private_keyid. cmrs and seamrr are (base, size) pairs in
    bytes. integrity: logical, as most hosts are set up, or cryptographic. cpu_signature is CPUID(1).EAX.
    seed drives everything that hardware draws at random, so that a run can be repeated.
    partial_write_poisons is the erratum X86_BUG_TDX_PW_MCE.
    """

    packages: int = 1
    lps_per_package: int = 2
    max_pa: int = 52
    keyid_bits: int = 6
    private_keyid: int = 32
    cmrs: tuple[tuple[int, int], ...] = ((0x100000, 0x7DF00000), (4 * GIB, 4 * GIB))
    seamrr: tuple[int, int] = (0x7E000000, 0x2000000)
    integrity: Integrity = Integrity.LOGICAL
    partial_write_poisons: bool = False
    cache_sub_blocks: int = 4
    cpu_signature: int = 0x806F8
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data that from_dict reads."""
        return asdict(self) | {"integrity": self.integrity.value}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PlatformConfig:
        """The inverse of to_dict."""
        words = dict(data)
        words["cmrs"] = tuple((base, size) for base, size in data["cmrs"])
        words["seamrr"] = tuple(data["seamrr"])
        words["integrity"] = Integrity(data["integrity"])
        return cls(**words)


@dataclass(slots=True)
class Call:
    """One SEAMCALL or TDCALL on its way: processor, registers, and the TD or vCPU it names."""

    leaf: Leaf
    lp: Lp
    version: int
    rcx: int = 0
    rdx: int = 0
    r8: int = 0
    r9: int = 0
    regs: dict[str, int] = field(default_factory=dict)
    out: dict[str, int] = field(default_factory=dict)
    tdr: Any = None
    vp: Any = None

    @property
    def tdcs(self) -> Tdcs:
        """The control structure of the TD that the call names."""
        tdcs: Tdcs = self.tdr.tdcs
        return tdcs


class Machine:
    """State of hardware and module, and the checks of ``src/common/`` in the module's source."""

    def __init__(self, config: PlatformConfig) -> None:
        self.config = config
        self.hkid_shift = config.max_pa - config.keyid_bits
        self.pa_mask = (1 << self.hkid_shift) - 1
        self._draws = 0
        self.entropy_failures = 0
        tme = Key(0, self.draw(32), private=False)
        self.keys: dict[int, Key] = {0: tme}
        self.memory = PhysicalMemory(tme, self.draw(32), config.integrity)
        self.report_key = self.draw(32)
        self.lps = [
            Lp(index=i, package=i // config.lps_per_package)
            for i in range(config.packages * config.lps_per_package)
        ]
        self.tsc = 0
        self.sys_state = SysState.SYSINIT_PENDING
        self.dead = ""
        self.hkid = 0
        self.key_packages = 0
        self.tdmrs: list[Tdmr] = []
        self.tdmr_next: list[int] = []
        self.pamt = Pamt()
        self.kot = {k: KotEntry() for k in range(config.private_keyid, 1 << config.keyid_bits)}
        self.writeback: dict[int, tuple[int, set[int]]] = {}
        self.tdrs: dict[int, Tdr] = {}
        self.vps: dict[int, Tdvps] = {}
        self.locks = Locks()
        # Pages that the call under way has locked: the TDR or TDVPR it names.
        self.taken: tuple[int, ...] = ()
        self.tainted: set[int] = set()

    # Randomness and keys.

    def draw(self, size: int) -> bytes:
        """Bytes from the seeded stream that stands for the hardware's random number generator."""
        self._draws += 1
        seed = b"%d/%d" % (self.config.seed, self._draws)
        return hashlib.shake_256(b"labkit tdx model/" + seed).digest(size)

    def entropy(self, size: int, code: Status) -> bytes:
        """Random bytes, or the failure that was ordered by entropy_failures."""
        if self.entropy_failures:
            self.entropy_failures -= 1
            raise Refused(code)
        return self.draw(size)

    def is_private(self, keyid: int) -> bool:
        """Whether a KeyID is in the part that only the module may use."""
        return keyid in self.kot

    def shared_key(self, keyid: int) -> Key:
        """The key of a shared KeyID; each has its own, made when first used."""
        key = self.keys.get(keyid)
        if key is None:
            key = self.keys[keyid] = Key(keyid, self.draw(32), private=False)
        return key

    # Locks that another processor may hold while it is inside the module.

    @contextmanager
    def hold(self, *lock: Any, shared: bool = False) -> Iterator[None]:
        """Hold a lock as if another processor were in the middle of a call.

        Locks: ("PAGE", page number), and the sizes above it as in ``_locks``; ("SEPT_TREE", "OP_STATE",
        "TD_EPOCH" or "RTMR", TDR address); ("SEPT_ENTRY", gpa); ("KOT",); ("WBCACHE", package);
        ("TDMR", base); ("SYS",).

        Raises:
            UsageError: somebody has the lock already.
        """
        if not self.locks.acquire(lock, exclusive=not shared):
            raise UsageError(f"The lock {lock} is held already.", "Hold it once, or shared.")
        try:
            yield
        finally:
            self.locks.release(lock)

    def busy(self, operand: int, *lock: Any, exclusive: bool = True) -> None:
        """Refuse with OPERAND_BUSY where the lock cannot be taken."""
        if self.locks.holders and not self.locks.free(lock, exclusive):
            raise Refused(Status.OPERAND_BUSY | operand)

    def busy_page(self, pfn: int, level: int, operand: int, exclusive: bool) -> None:
        """Refuse with OPERAND_BUSY where a walk to a PAMT entry would meet a lock."""
        mine = exclusive and any(taken >> 9 * level == pfn >> 9 * level for taken in self.taken)
        if mine or (self.locks.holders and not self.locks.page_free(pfn, level, exclusive)):
            raise Refused(Status.OPERAND_BUSY | operand)

    # Pages and TDs.

    def page(self, address: int, operand: int, want: PageType, exclusive: bool = True) -> int:
        """Check an explicit 4 KiB private page in the order of the source; return its number.

        Alignment and KeyID bits, memory of a TDMR, lock, type and size in the PAMT.
        """
        if address & 0xFFF or address >> self.hkid_shift:
            raise Refused(Status.OPERAND_INVALID | operand)
        pfn = address >> 12
        pamt = self.pamt
        if not pamt.covered(pfn):
            raise Refused(Status.OPERAND_ADDR_RANGE_ERROR | operand)
        if self.taken or self.locks.holders:
            self.busy_page(pfn, 0, operand, exclusive)
        entry = None if pamt.large else pamt.sizes[0].get(pfn)
        if (entry.type if entry is not None else pamt.type_of(pfn)) is not want:
            raise Refused(Status.PAGE_METADATA_INCORRECT | operand)
        return pfn

    def shared_page(self, address: int, align: int, operand: int) -> None:
        """Check an address of host memory: aligned, in range, not under a private KeyID."""
        keyid = address >> self.hkid_shift
        base, size = self.config.seamrr
        if (
            address & (align - 1)
            or address >> self.config.max_pa
            or self.is_private(keyid)
            or base <= address & self.pa_mask < base + size
        ):
            raise Refused(Status.OPERAND_INVALID | operand)

    def tdr(self, address: int, operand: int, exclusive: bool) -> Tdr:
        """Lock the TD whose root page stands at an address."""
        tdr = self.tdrs[self.page(address, operand, PageType.TDR, exclusive)]
        if self.tainted:
            self.intact(tdr.pfn)
        self.taken = (tdr.pfn,)
        return tdr

    def vcpu(self, address: int, operand: int, exclusive: bool) -> Tdvps:
        """Lock the vCPU whose root page stands at an address, and with it, shared, its TD."""
        vp = self.vps[self.page(address, operand, PageType.TDVPR, exclusive)]
        if self.tainted:
            self.intact(vp.pfn, vp.tdr.pfn, *vp.pages)
        self.busy(Operand.TDR, "PAGE", vp.tdr.pfn, exclusive=False)
        self.taken = (vp.pfn, vp.tdr.pfn)
        return vp

    def intact(self, *pages: int) -> None:
        """The module reads its own structures: lines that the host wrote over stop the platform."""
        if self.tainted.intersection(pages):
            raise SeamMachineCheck

    def check_td(self, leaf: Leaf, tdr: Tdr) -> None:
        """The common TD check: fatal, keys, control pages, lock, operation state; in this order.

        A leaf that has the TDR to itself needs no lock on the operation state.
        """
        if tdr.fatal:
            raise Refused(Status.TD_FATAL)
        if tdr.lifecycle is not LifeCycle.KEYS_CONFIGURED:
            raise Refused(Status.TD_KEYS_NOT_CONFIGURED)
        if len(tdr.tdcx) < MIN_TDCX:
            raise Refused(Status.TDCS_NOT_ALLOCATED)
        if self.tainted:
            self.intact(*tdr.tdcx)
        if self.locks.holders and not (leaf.exclusive and leaf.handle == "T"):
            self.busy(Operand.OP_STATE, "OP_STATE", tdr.pfn << 12, exclusive=False)
        assert leaf.states is not None
        if tdr.tdcs.op_state not in leaf.states:
            raise Refused(Status.OP_STATE_INCORRECT)

    # Guest addresses and the Secure EPT.

    def private_gpa(self, tdcs: Tdcs, gpa: int) -> None:
        """Refuse an address with the shared bit, or beyond the guest's width."""
        if gpa >> tdcs.gpa_width - 1:
            raise Refused(Status.OPERAND_INVALID | Operand.RCX)

    def split_gpa(self, call: Call, low: int, high: int) -> tuple[int, int]:
        """Take a GPA-and-level operand (RCX) apart: level in bits 2:0, the range aligned to it."""
        level = call.rcx & 7
        gpa = call.rcx & ~0xFFF
        if not low <= level <= high or call.rcx & 0xFF8 or call.rcx >> 52 or gpa & (0x1000 << 9 * level) - 1:
            raise Refused(Status.OPERAND_INVALID | Operand.RCX)
        self.private_gpa(call.tdcs, gpa)
        return gpa, level

    def entry(
        self, call: Call, gpa: int, level: int, exclusive: bool = False
    ) -> tuple[SeptPage, int, int, Septe]:
        """Lock the tree, walk to the entry, lock it, apply the leaf's rule on its state.

        Returns page, index, entry and state. On refusal RCX and RDX tell the entry where the walk ended.
        """
        tdr: Tdr = call.tdr
        sept = tdr.tdcs.sept
        if self.locks.holders:
            self.busy(Operand.SEPT_TREE, "SEPT_TREE", tdr.pfn << 12, exclusive=exclusive)
        page, index, at = sept.walk(gpa, level)
        if self.tainted:
            self.intact(page.pfn)
        entry = page.entries[index]
        if at != level:
            raise Refused(Status.EPT_WALK_FAILED | Operand.RCX, **describe(entry, at))
        if self.locks.holders and not self.locks.free(("SEPT_ENTRY", gpa), exclusive=True):
            raise Refused(Status.OPERAND_BUSY | Operand.RCX, **describe(entry, at))
        state = entry_state(entry)
        if state not in SEPT_ALLOWED[call.leaf.name]:
            code = Status.EPT_ENTRY_STATE_INCORRECT
            if call.leaf.number == 7 and TRAITS[state].blocked:
                code = Status.GPA_RANGE_ALREADY_BLOCKED
            raise Refused(code | Operand.RCX, **describe(entry, at))
        return page, index, entry, state

    def quiesced(
        self, call: Call, entry: int, state: Septe, level: int, bepoch: int, tree: int = Operand.RCX
    ) -> None:
        """While the TD may run: the range must be blocked, and no stale translation may be left.

        tree: the operand that an unfinished tracking is blamed on.
        """
        tdcs = call.tdcs
        if not TRAITS[state].tracked or tdcs.op_state not in TRACKING_STATES:
            return
        if not TRAITS[state].blocked:
            raise Refused(Status.GPA_RANGE_NOT_BLOCKED | Operand.RCX, **describe(entry, level))
        if not tdcs.tracked(bepoch):
            raise Refused(Status.TLB_TRACKING_NOT_DONE | tree)

    # The host's own access to memory.

    def host_key(self, address: int) -> tuple[int, Key]:
        """Split a host address into physical address and key.

        Raises:
            UsageError: a private KeyID, which page tables outside SEAM treat as reserved bits (#PF).
        """
        keyid = address >> self.hkid_shift
        if address >> self.config.max_pa or self.is_private(keyid):
            raise UsageError(
                f"The host used KeyID {keyid}: outside SEAM these address bits are reserved: page fault.",
                f"Use KeyIDs below {self.config.private_keyid}.",
            )
        base, size = self.config.seamrr
        if base <= address & self.pa_mask < base + size:
            raise UsageError(
                "The host touched SEAMRR, the memory range of the module: the access is aborted.",
                "Use memory outside SEAMRR.",
            )
        return address & self.pa_mask, self.shared_key(keyid)

    def host_read(self, address: int, size: int) -> Read:
        """Read memory as the host does.

        Raises:
            UsageError: see host_key.
        """
        physical, key = self.host_key(address)
        return self.memory.read(physical, size, key)

    def host_write(self, address: int, data: bytes, non_temporal: bool = False) -> None:
        """Write memory as the host does; nothing is checked but the KeyID.

        non_temporal: a partial store that goes past the caches; with the erratum it poisons the line.

        Raises:
            UsageError: see host_key.
        """
        physical, key = self.host_key(address)
        self.memory.write(physical, data, key)
        if non_temporal and self.config.partial_write_poisons and len(data) % 64:
            self.memory.poison(physical)
        for pfn in range(physical >> 12, (physical + len(data) - 1 >> 12) + 1):
            entry = self.pamt.sizes[0].get(pfn)
            if entry is not None and entry.type in _CONTROL:
                self.tainted.add(pfn)


def describe(entry: int, level: int) -> dict[str, int]:
    """What the host is told about an entry: RCX as much of it as it may see, RDX level and public state."""
    state = entry_state(entry)
    return {"rcx": shown_entry(entry, state), "rdx": level | TRAITS[state].public << 8}


def not_modelled(name: str) -> NotModelled:
    """The answer of a leaf that is left out on purpose."""
    return NotModelled(
        f"{name} is not modelled.",
        "Migration, nested VMs, service TDs and CPUID virtualization are left out; see docs/tdx-model.md.",
    )
