"""A well-behaved VMM: starts the module, builds a TD leaf by leaf, runs it, answers it, takes it apart."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from labkit.errors import ModuleRefused, UsageError
from labkit.tdx._answers import ANSWERS, PAGE, Td
from labkit.tdx._platform import Platform
from labkit.tdx._result import Program, Result
from labkit.tdx._vp import EXIT_EPT_VIOLATION, EXIT_TDCALL
from labkit.tdx.ghci import Vmcall, VmcallStatus
from labkit.tdx.objects import MIN_TDCX, TDVPS_PAGES
from labkit.tdx.params import GIB, Tdmr, TdParams
from labkit.tdx.states import TRAITS, Septe
from labkit.tdx.status import Status, decode

MR_EXTEND = 1 << 0
PAGE_AUG = 1 << 1

# Where the VMM keeps things: its own pages and the PAMT below, the TDs' memory in one TDMR above.
_HOST_BASE = 4 * GIB
_PAMT_BASE = 4 * GIB + GIB // 2
_TDMR_BASE = 5 * GIB


class Order(StrEnum):
    """In which order pages are added and measured: page by page, or all adds of a section first."""

    SINGLE_PASS = "single-pass"
    TWO_PASS = "two-pass"


@dataclass(frozen=True)
class Section:
    """A part of a TDVF image: where it goes, how large, its bytes, and whether it is measured.

    gpa and memory_size in bytes, multiples of 4 KiB; data may be shorter, the rest is zero. attributes: bit 0
    measure the content, bit 1 do not add it at build time.
    """

    gpa: int
    memory_size: int
    data: bytes = b""
    attributes: int = 0


class Vmm:
    """Drives a platform as a correct host would.

    quote_service turns a TDREPORT into a quote for GetQuote; without one the service is unavailable. cpuid
    and msrs hold what the host answers for those; console collects what guests write to port 0x3F8.
    """

    def __init__(self, platform: Platform | None = None) -> None:
        self.platform = platform or Platform()
        self.free: list[int] = []
        self._next = _TDMR_BASE
        self._end = _TDMR_BASE + GIB
        self._next_host = _HOST_BASE
        self.console = bytearray()
        self.cpuid: dict[tuple[int, int], tuple[int, int, int, int]] = {}
        self.msrs: dict[int, int] = {}
        self.mmio: dict[int, int] = {}
        self.quote_service: Callable[[bytes], bytes] | None = None
        self.vmcalls: list[tuple[int, dict[str, int]]] = []
        self._staging = self.host_page()

    # Calls that must succeed, and memory.

    def call(self, leaf: str, lp: int = 0, **regs: int) -> Result:
        """Make a SEAMCALL that must succeed.

        Raises:
            ModuleRefused: the module answered with an error.
        """
        result = self.platform.seamcall(leaf, lp, **regs)
        if not result.ok:
            raise ModuleRefused(
                f"{leaf} answered {result}.", "The trace of the platform shows the calls before."
            )
        return result

    def host_page(self) -> int:
        """Address of a fresh page of the host's own memory."""
        address = self._next_host
        self._next_host += PAGE
        return address

    def page(self) -> int:
        """Address of a free page of TDMR memory, used ones first.

        Raises:
            UsageError: the memory for TDs is used up.
        """
        if self.free:
            return self.free.pop()
        if self._next >= self._end:
            raise UsageError("The model's memory for TDs is used up.", "Tear a TD down first.")
        self._next += PAGE
        return self._next - PAGE

    def large_page(self) -> int:
        """Address of a free, aligned range of 2 MiB."""
        first = -(-self._next // 0x200000) * 0x200000
        self.free += range(self._next, first, PAGE)
        self._next = first + 0x200000
        return first

    # The module.

    def start(self) -> Vmm:
        """Bring the module up: SYS.INIT to SYS.TDMR.INIT, on every processor and package."""
        platform = self.platform
        self.call("TDH.SYS.INIT")
        for processor in platform.lps:
            self.call("TDH.SYS.LP.INIT", processor.index)
        table, entry = self.host_page(), self.host_page()
        platform.write(entry, default_tdmr().pack())
        platform.write(table, struct.pack("<Q", entry))
        self.call("TDH.SYS.CONFIG", rcx=table, rdx=1, r8=platform.config.private_keyid)
        for lp in self.package_lps():
            self.call("TDH.SYS.KEY.CONFIG", lp)
        while self.call("TDH.SYS.TDMR.INIT", rcx=_TDMR_BASE)["rdx"] < _TDMR_BASE + GIB:
            pass
        return self

    def package_lps(self) -> list[int]:
        """One logical processor of each package."""
        per = self.platform.config.lps_per_package
        return [package * per for package in range(self.platform.config.packages)]

    # Building a TD.

    def create(self, params: TdParams | None = None, hkid: int | None = None) -> Td:
        """Make a TD up to MNG.INIT."""
        params = params or TdParams()
        used = {tdr.hkid for tdr in self.platform.tdrs.values()} | {self.platform.hkid}
        if hkid is None:
            hkid = min(key for key in self.platform.kot if key not in used)
        td = Td(self.page(), hkid, top=params.eptp_controls >> 3 & 7)
        td.shared_bit = 1 << (51 if params.config_flags & 1 else 47)
        self.call("TDH.MNG.CREATE", rcx=td.tdr, rdx=hkid)
        for lp in self.package_lps():
            self.call("TDH.MNG.KEY.CONFIG", lp, rcx=td.tdr)
        for _ in range(MIN_TDCX):
            self.call("TDH.MNG.ADDCX", rcx=self._own(td), rdx=td.tdr)
        self.platform.write(self._staging, params.pack())
        self.call("TDH.MNG.INIT", rcx=td.tdr, rdx=self._staging)
        return td

    def add_vcpu(self, td: Td, lp: int = 0, argument: int = 0) -> int:
        """Make a vCPU; returns the address of its TDVPR. argument reaches the guest in RCX and R8."""
        tdvpr = self._own(td)
        self.call("TDH.VP.CREATE", rcx=tdvpr, rdx=td.tdr)
        for _ in range(TDVPS_PAGES - 1):
            self.call("TDH.VP.ADDCX", rcx=self._own(td), rdx=tdvpr)
        self.call("TDH.VP.INIT", lp, rcx=tdvpr, rdx=argument)
        td.vcpus.append(tdvpr)
        return tdvpr

    def _own(self, td: Td) -> int:
        page = self.page()
        td.pages.append(page)
        return page

    def tables(self, td: Td, gpa: int, level: int = 0) -> None:
        """Add the Secure EPT pages that an entry of a level at an address needs."""
        for at in range(td.top, level, -1):
            base = gpa >> 12 + 9 * at << 12 + 9 * at
            if (base, at) not in td.tables:
                self.call("TDH.MEM.SEPT.ADD", rcx=base | at, rdx=td.tdr, r8=self._own(td))
                td.tables.add((base, at))

    def add_page(self, td: Td, gpa: int, data: bytes) -> int:
        """Add one page at build time; returns its physical address."""
        self.tables(td, gpa)
        self.platform.write(self._staging, data.ljust(PAGE, b"\0"))
        page = self._own(td)
        self.call("TDH.MEM.PAGE.ADD", rcx=gpa, rdx=td.tdr, r8=page, r9=self._staging)
        return page

    def measure(self, td: Td, gpa: int) -> None:
        """Measure the sixteen 256-byte chunks of a page."""
        for chunk in range(gpa, gpa + PAGE, 256):
            self.call("TDH.MR.EXTEND", rcx=chunk, rdx=td.tdr)

    def load(self, td: Td, sections: Iterable[Section], order: Order = Order.SINGLE_PASS) -> None:
        """Add and measure the sections of an image.

        Raises:
            UsageError: a section that is not page-aligned, or holds more data than memory.
        """
        for section in sections:
            _check_section(section)
            if section.attributes & PAGE_AUG:
                continue
            pages = range(section.gpa, section.gpa + section.memory_size, PAGE)
            measured = bool(section.attributes & MR_EXTEND)
            for gpa in pages:
                start = gpa - section.gpa
                self.add_page(td, gpa, section.data[start : start + PAGE])
                if measured and order is Order.SINGLE_PASS:
                    self.measure(td, gpa)
            if measured and order is Order.TWO_PASS:
                for gpa in pages:
                    self.measure(td, gpa)

    def launch(
        self,
        sections: Sequence[Section],
        order: Order = Order.SINGLE_PASS,
        params: TdParams | None = None,
        vcpus: int = 1,
    ) -> Td:
        """Build a TD from the sections of a TDVF image and finalize it."""
        td = self.create(params)
        for _ in range(vcpus):
            self.add_vcpu(td)
        self.load(td, sections, order)
        self.call("TDH.MR.FINALIZE", rcx=td.tdr)
        return td

    def mrtd(self, td: Td) -> bytes:
        """The TD's measurement; the model shows it, on hardware a TDREPORT does."""
        return self.platform.tdrs[td.tdr >> 12].tdcs.mrtd

    # Running.

    def aug(self, td: Td, gpa: int) -> int:
        """Offer a 4 KiB page; returns its physical address."""
        self.tables(td, gpa)
        page = self._own(td)
        self.call("TDH.MEM.PAGE.AUG", rcx=gpa, rdx=td.tdr, r8=page)
        return page

    def remove(self, td: Td, gpa: int) -> int:
        """Take a 4 KiB page away as the rules ask: block, track, remove; returns its physical address."""
        self.call("TDH.MEM.RANGE.BLOCK", rcx=gpa, rdx=td.tdr)
        self.call("TDH.MEM.TRACK", rcx=td.tdr)
        page = self.call("TDH.MEM.PAGE.REMOVE", rcx=gpa, rdx=td.tdr)["rcx"]
        self.free.append(page)
        td.pages.remove(page)
        return page

    def share(self, td: Td, gpa: int, keyid: int = 0) -> int:
        """Put host memory behind a shared guest page; returns the host address."""
        page = self.host_page() | keyid << self.platform.hkid_shift
        self.shared(td)[(gpa & td.shared_bit - 1) >> 12] = page
        return page

    def shared(self, td: Td) -> dict[int, int]:
        """The host's tables for shared addresses: guest page number to host address."""
        return self.platform.tdrs[td.tdr >> 12].tdcs.shared_ept

    def run(self, td: Td, program: Program | None = None, lp: int = 0, limit: int = 10_000) -> Result:
        """Run the first vCPU until its program ends, it halts, or something happens that has no answer.

        Page faults on private memory are answered with AUG, TDVMCALLs as Vmcall says. Returns the last exit.
        """
        tdvpr = td.vcpus[0]
        if program is not None:
            self.platform.attach(tdvpr, program)
        answer: dict[str, int] = {}
        for _ in range(limit):
            result = self.platform.seamcall("TDH.VP.ENTER", lp, rcx=tdvpr, **answer)
            answer = {}
            if result.running or result.status >> 32:
                return result
            if result.exit_reason == EXIT_EPT_VIOLATION and self.on_fault(td, result):
                continue
            if result.exit_reason != EXIT_TDCALL:
                return result
            if result["r11"] == Vmcall.HLT:
                return result
            answer = self.on_vmcall(td, result)
        return result

    def on_fault(self, td: Td, exit_: Result) -> bool:
        """Answer an EPT violation; False where the host has nothing to offer."""
        gpa = exit_["r8"]
        if gpa & td.shared_bit:
            self.share(td, gpa)
            return True
        seen = self.platform.seamcall("TDH.MEM.SEPT.RD", rcx=gpa, rdx=td.tdr)
        if seen.ok and seen["rdx"] >> 8 != TRAITS[Septe.FREE].public:
            return False
        self.aug(td, gpa)
        return True

    def on_vmcall(self, td: Td, exit_: Result) -> dict[str, int]:
        """The registers with which the host answers a TDVMCALL; R10 is the status."""
        function = exit_["r11"]
        self.vmcalls.append((function, dict(exit_.regs)))
        handler = ANSWERS.get(function)
        if handler is None:
            return {"r10": VmcallStatus.INVALID_OPERAND}
        return handler(self, td, exit_)

    # The end.

    def teardown(self, td: Td) -> None:
        """Take the TD apart: flush, write back, free the KeyID, reclaim every page."""
        platform = self.platform
        for tdvpr in td.vcpus:
            vp = platform.vps[tdvpr >> 12]
            if vp.lp >= 0:
                self.call("TDH.VP.FLUSH", vp.lp, rcx=tdvpr)
        self.call("TDH.MNG.VPFLUSHDONE", rcx=td.tdr)
        for lp in self.package_lps():
            command = 0
            while True:
                result = platform.seamcall("TDH.PHYMEM.CACHE.WB", lp, rcx=command)
                if decode(result.status).status is not Status.INTERRUPTED_RESUMABLE:
                    break
                command = 1
        self.call("TDH.MNG.KEY.FREEID", rcx=td.tdr)
        for page in [*td.pages, td.tdr]:
            self.call("TDH.PHYMEM.PAGE.RECLAIM", rcx=page)
            self.free.append(page)


def default_tdmr() -> Tdmr:
    """The one TDMR of the VMM: 1 GiB, its PAMT areas outside of it."""
    sizes = [GIB // unit * 16 for unit in (GIB, 0x200000, PAGE)]
    places = []
    at = _PAMT_BASE
    for size in sizes:
        places.append((at, -(-size // PAGE) * PAGE))
        at += places[-1][1]
    large, middle, small = places
    return Tdmr(_TDMR_BASE, GIB, large, middle, small)


def _check_section(section: Section) -> None:
    if section.gpa % PAGE or section.memory_size % PAGE or len(section.data) > section.memory_size:
        raise UsageError(
            f"The section at {section.gpa:#x} is not made of whole pages, or its data does not fit.",
            "Use multiples of 4 KiB.",
        )
