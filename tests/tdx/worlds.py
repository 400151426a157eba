"""Platforms and TDs in the states that tests need, reached through the module's own leaves."""

from __future__ import annotations

import csv
import struct
from pathlib import Path

from labkit.tdx import Platform, PlatformConfig, Result, Section, Td, TdParams, Vmm
from labkit.tdx.force import force_entry_state, force_op_state
from labkit.tdx.params import Tdmr
from labkit.tdx.states import OpState, Septe

FACTS = Path(__file__).resolve().parents[1] / "facts" / "tdx-module"
DEBUG = 1 << 0
SEPT_VE_DISABLE = 1 << 28
MIB2 = 0x200000

# Guest addresses of the prepared world, one region of 2 MiB each.
MAPPED = 0x0
BLOCKED = 0x1000
FREE = 0x2000
PENDING = 0x3000
LARGE_BLOCKED = 1 * MIB2
SPLIT_BLOCKED = 2 * MIB2
EMPTY_BLOCKED = 3 * MIB2
LARGE_FREE = 4 * MIB2
EMPTY = 5 * MIB2
NOT_THERE = 6 * MIB2


def rows(name: str) -> list[dict[str, str]]:
    """The rows of one of the tables taken from Intel's source."""
    with (FACTS / name).open(encoding="ascii") as lines:
        return list(csv.DictReader(lines))


def vmm(config: PlatformConfig | None = None, trace: bool = False) -> Vmm:
    """A VMM whose module is READY."""
    return Vmm(Platform(config, trace=trace)).start()


def configure(tdmr: Tdmr, *more: Tdmr, config: PlatformConfig | None = None) -> Result:
    """SYS.CONFIG with TDMRs of our own."""
    platform = Platform(config)
    host = Vmm(platform)
    host.call("TDH.SYS.INIT")
    for lp in platform.lps:
        host.call("TDH.SYS.LP.INIT", lp.index)
    table = host.host_page()
    addresses = []
    for one in (tdmr, *more):
        addresses.append(host.host_page())
        platform.write(addresses[-1], one.pack())
    platform.write(table, struct.pack(f"<{len(addresses)}Q", *addresses))
    return platform.seamcall("TDH.SYS.CONFIG", rcx=table, rdx=len(addresses), r8=32)


class World:
    """A TD under construction with a page or table in every state a leaf may want, and three vCPUs.

    vCPU 0 is ready, 1 has all its pages, 2 has none beside its TDVPR.
    """

    def __init__(self, attributes: int = DEBUG | SEPT_VE_DISABLE) -> None:
        self.vmm = vmm()
        self.platform = self.vmm.platform
        self.td = self.vmm.create(TdParams(attributes=attributes))
        self.ready = self.vmm.add_vcpu(self.td)
        self.complete = self.bare_vcpu()
        for _ in range(5):
            self.ok("TDH.VP.ADDCX", rcx=self.page(), rdx=self.complete)
        self.bare = self.bare_vcpu()
        self.vmm.add_page(self.td, MAPPED, b"mapped")
        self.vmm.add_page(self.td, BLOCKED, b"blocked")
        self.vmm.aug(self.td, PENDING)
        self.aug_large(LARGE_BLOCKED)
        self.aug_large(SPLIT_BLOCKED)
        self.ok("TDH.MEM.PAGE.DEMOTE", rcx=SPLIT_BLOCKED | 1, rdx=self.tdr, r8=self.page())
        for gpa in (EMPTY_BLOCKED, EMPTY):
            self.vmm.tables(self.td, gpa)
        for entry in (BLOCKED, LARGE_BLOCKED | 1, SPLIT_BLOCKED | 1, EMPTY_BLOCKED | 1):
            self.ok("TDH.MEM.RANGE.BLOCK", rcx=entry, rdx=self.tdr)
        self.ok("TDH.MEM.TRACK", rcx=self.tdr)

    @property
    def tdr(self) -> int:
        return self.td.tdr

    def ok(self, leaf: str, lp: int = 0, **regs: int) -> Result:
        return self.vmm.call(leaf, lp, **regs)

    def page(self) -> int:
        page = self.vmm.page()
        self.td.pages.append(page)
        return page

    def bare_vcpu(self) -> int:
        page = self.page()
        self.ok("TDH.VP.CREATE", rcx=page, rdx=self.tdr)
        return page

    def aug_large(self, gpa: int) -> int:
        self.vmm.tables(self.td, gpa, 1)
        page = self.vmm.large_page()
        self.ok("TDH.MEM.PAGE.AUG", rcx=gpa | 1, rdx=self.tdr, r8=page)
        self.td.pages.append(page)
        return page

    def finalize(self) -> World:
        self.ok("TDH.MR.FINALIZE", rcx=self.tdr)
        return self

    def enter(self, lp: int = 0) -> World:
        assert self.platform.seamcall("TDH.VP.ENTER", lp, rcx=self.ready).running
        return self

    def bring_to(self, state: OpState) -> World:
        """INITIALIZED is where building stands, RUNNABLE is reached by a leaf, the rest is forced."""
        if state is OpState.RUNNABLE:
            self.finalize()
        elif state is not OpState.INITIALIZED:
            force_op_state(self.platform, self.tdr, state)
        return self

    def params(self) -> int:
        """Address of valid TD_PARAMS in host memory."""
        address = self.vmm.host_page()
        self.platform.write(address, TdParams().pack())
        return address

    def write_blocked(self) -> int:
        """A page in a state that only migration leads to."""
        force_entry_state(self.platform, self.tdr, MAPPED, 0, Septe.BLOCKEDW)
        return MAPPED

    def state_of(self, gpa: int, level: int = 0) -> int:
        """The public state of an entry, as MEM.SEPT.RD shows it."""
        return self.ok("TDH.MEM.SEPT.RD", rcx=gpa | level, rdx=self.tdr)["rdx"] >> 8


def uninitialized() -> tuple[Vmm, Td]:
    """A TD whose keys and control pages are there, before MNG.INIT."""
    host = vmm()
    td = Td(host.page(), 40)
    host.call("TDH.MNG.CREATE", rcx=td.tdr, rdx=40)
    host.call("TDH.MNG.KEY.CONFIG", rcx=td.tdr)
    for _ in range(6):
        host.call("TDH.MNG.ADDCX", rcx=host.page(), rdx=td.tdr)
    host.platform.write(host._staging, TdParams().pack())
    return host, td


def physical(host: Vmm, td: Td, gpa: int) -> int:
    """The physical address of a private 4 KiB page."""
    entry = host.platform.seamcall("TDH.MEM.SEPT.RD", rcx=gpa, rdx=td.tdr)["rcx"]
    return entry & host.platform.pa_mask & ~0xFFF


def launched(params: TdParams | None = None, config: PlatformConfig | None = None) -> tuple[Vmm, Td]:
    """A runnable TD with a measured page at 0x1000 and two more behind it."""
    host = vmm(config)
    sections = [Section(0x1000, 0x1000, b"code", 1), Section(0x2000, 0x2000)]
    return host, host.launch(sections, params=params, vcpus=2)


MODELLED_STATES = (
    Septe.FREE,
    Septe.NL_MAPPED,
    Septe.NL_BLOCKED,
    Septe.MAPPED,
    Septe.BLOCKED,
    Septe.PENDING,
    Septe.PENDING_BLOCKED,
)
