"""A hostile VMM: one method per attack; each tells what the machine answered and why.

The attacks and the expected answers are those of Intel's module source and base architecture
specification; ``docs/tdx-model.md`` lists them with their sources.
"""

from __future__ import annotations

from collections.abc import Callable

from labkit.errors import UsageError
from labkit.tdx._answers import Td
from labkit.tdx._machine import PlatformConfig
from labkit.tdx._platform import Platform
from labkit.tdx._report import ModelReport
from labkit.tdx._result import Program, Result
from labkit.tdx.params import ATTRIBUTES_DEBUG, ATTRIBUTES_SEPT_VE_DISABLE, TdParams
from labkit.tdx.status import VMFAIL_INVALID
from labkit.tdx.victim import (
    CODE,
    DATA,
    SCRATCH,
    SECRET,
    Attack,
    Log,
    Verdict,
    keep_secret,
    overwrite,
    read_msr,
    read_plain,
    read_scratch,
    read_with_handler,
    report_into,
    walk_by_secret,
)
from labkit.tdx.vmm import MR_EXTEND, Section, Vmm


class HostileVmm(Vmm):
    """A VMM that launches a TD correctly and then attacks it.

    The victim has a measured page at 0x100000 and, once it ran, a secret at 0x101000.
    """

    def __init__(self, config: PlatformConfig | None = None, attributes: int = 0) -> None:
        super().__init__(Platform(config))
        self.start()
        params = TdParams(attributes=attributes)
        sections = [Section(CODE, 0x1000, b"guest code", MR_EXTEND), Section(DATA, 0x2000)]
        self.td: Td = self.launch(sections, params=params, vcpus=2)
        self.run(self.td, keep_secret())

    @property
    def vcpu(self) -> int:
        """Address of the first vCPU."""
        return self.td.vcpus[0]

    def physical(self, gpa: int) -> int:
        """Where a private page lies; a real host knows, since it put the page there."""
        return self.platform.seamcall("TDH.MEM.SEPT.RD", rcx=gpa, rdx=self.td.tdr)["rcx"] & (
            self.platform.pa_mask & ~0xFFF
        )

    def _try(self, log: Log, leaf: str, lp: int = 0, **regs: int) -> Result:
        result = self.platform.seamcall(leaf, lp, **regs)
        operands = ", ".join(f"{name.upper()}={value:#x}" for name, value in regs.items())
        log.add(f"{leaf}({operands})", result)
        return result

    def _look(self, log: Log, what: str, program: Callable[[list[str]], Program]) -> tuple[Result, str]:
        """Run a guest program that notes what it sees; returns its last exit and the notes."""
        notes: list[str] = []
        result = self.run(self.td, program(notes))
        seen = "; ".join(notes)
        log.add(what, seen or result)
        log.status = result.status if result.status >> 32 else log.status
        return result, seen

    # Mapping tricks.

    def alias(self) -> Attack:
        """Map one physical page at two guest addresses."""
        log = Log("alias", "map the secret's page at a second guest address")
        self.tables(self.td, SCRATCH + 0x1000)
        page = self.physical(DATA)
        result = self._try(log, "TDH.MEM.PAGE.AUG", rcx=0x104000, rdx=self.td.tdr, r8=page)
        return log.refused(result, "the PAMT knows one owner and one use for each physical page")

    def steal(self) -> Attack:
        """Map a TD's page into another TD."""
        log = Log("steal", "map the secret's page into a TD of the attacker")
        page = self.physical(DATA)
        other = self.create()
        self.tables(other, CODE)
        result = self._try(log, "TDH.MEM.PAGE.AUG", rcx=CODE, rdx=other.tdr, r8=page)
        return log.refused(result, "the PAMT says that the page belongs to a TD")

    def remap(self) -> Attack:
        """Replace a page of the running TD by another."""
        log = Log("remap", "replace the secret's page by one the host prepared")
        self.remove(self.td, DATA)
        log.add("BLOCK, TRACK, REMOVE of the page", Result(0))
        page = self.page()
        self.platform.write(page, b"prepared by the host")
        self.td.pages.append(page)
        self._try(log, "TDH.MEM.PAGE.AUG", rcx=DATA, rdx=self.td.tdr, r8=page)
        _, seen = self._look(log, "the guest reads the page", read_with_handler)
        noticed = "#VE" in seen and "prepared" not in seen
        why = "a new page is PENDING: #VE first, and zeros once the guest accepts it"
        return log.end(Verdict.DETECTED if noticed else Verdict.POSSIBLE, why)

    def remove_without_block(self) -> Attack:
        """Take a page away while the guest may be using it."""
        log = Log("remove without block", "take a page away under the running guest")
        result = self._try(log, "TDH.MEM.PAGE.REMOVE", rcx=DATA, rdx=self.td.tdr)
        return log.refused(result, "processors may hold translations of the page")

    def skip_track(self) -> Attack:
        """Take a page away without waiting for stale translations to go."""
        log = Log("skip TRACK", "reuse a page while a processor still has its translation")
        self._try(log, "TDH.MEM.RANGE.BLOCK", rcx=DATA, rdx=self.td.tdr)
        result = self._try(log, "TDH.MEM.PAGE.REMOVE", rcx=DATA, rdx=self.td.tdr)
        return log.refused(result, "the epoch of the block has not passed on every processor")

    # Measurement tricks.

    def add_after_finalize(self) -> Attack:
        """Add code that was not measured."""
        log = Log("add after finalize", "put code into the TD after its measurement")
        self.tables(self.td, 0x105000)
        regs = {"rcx": 0x105000, "rdx": self.td.tdr, "r8": self.page(), "r9": self._staging}
        result = self._try(log, "TDH.MEM.PAGE.ADD", **regs)
        return log.refused(result, "PAGE.ADD belongs to the build; a runnable TD only gets empty pages")

    def measure_again(self) -> Attack:
        """Change MRTD after it was fixed."""
        log = Log("measure again", "extend or finalize the measurement once more")
        self._try(log, "TDH.MR.EXTEND", rcx=CODE, rdx=self.td.tdr)
        result = self._try(log, "TDH.MR.FINALIZE", rcx=self.td.tdr)
        return log.refused(result, "MRTD is fixed at MR.FINALIZE")

    def run_before_finalize(self) -> Attack:
        """Run a TD whose measurement is open."""
        log = Log("run before finalize", "let the TD run while its measurement can still change")
        other = self.create()
        tdvpr = self.add_vcpu(other)
        result = self._try(log, "TDH.VP.ENTER", rcx=tdvpr)
        return log.refused(result, "VP.ENTER needs the state RUNNABLE")

    def change_firmware(self) -> Attack:
        """Launch other firmware."""
        log = Log("change firmware", "launch the same TD with one bit of its code changed")
        good = self.mrtd(self.td)
        code = bytes([b"guest code"[0] ^ 1]) + b"guest code"[1:]
        other = self.launch([Section(CODE, 0x1000, code, MR_EXTEND), Section(DATA, 0x2000)])
        log.add("MRTD expected", good.hex()[:32] + "…")
        log.add("MRTD of the changed TD", self.mrtd(other).hex()[:32] + "…")
        changed = self.mrtd(other) != good
        return log.end(Verdict.VISIBLE if changed else Verdict.POSSIBLE, "every measured byte is in MRTD")

    def pass_off_debug(self) -> Attack:
        """Launch a debug TD and call it a production TD."""
        log = Log("debug as production", "launch the TD with the DEBUG attribute, then read its memory")
        other = HostileVmm(self.platform.config, ATTRIBUTES_DEBUG | ATTRIBUTES_SEPT_VE_DISABLE)
        read = other._try(log, "TDH.MEM.RD", rcx=DATA, rdx=other.td.tdr)
        log.add("the host reads 8 bytes", repr(read["r8"].to_bytes(8, "little")))
        reports: list[bytes] = []
        other.run(other.td, report_into(reports))
        attributes = ModelReport(reports[0]).attributes
        log.add("ATTRIBUTES in the TD's report", f"{attributes:#x}; bit 0 is DEBUG")
        verdict = Verdict.VISIBLE if attributes & ATTRIBUTES_DEBUG else Verdict.POSSIBLE
        return log.end(verdict, "the report says DEBUG, and verifiers refuse it")

    # Looking in and destroying.

    def debug_read(self) -> Attack:
        """Read private memory by the debug leaf."""
        log = Log("debug read", "read the secret with the leaf made for debugging")
        result = self._try(log, "TDH.MEM.RD", rcx=DATA, rdx=self.td.tdr)
        return log.refused(result, "the leaf works on TDs with the DEBUG attribute only")

    def read_memory(self) -> Attack:
        """Read private memory directly."""
        log = Log("read memory", "read the secret's page with KeyID 0")
        page = self.physical(DATA)
        read = self.platform.host_read(page, len(SECRET))
        log.add(f"load from {page:#x}, KeyID 0", f"{read.data.hex()} ({read.why})")
        line = self.platform.memory.bus_read(page)
        log.add("in the DIMM", f"{line.ciphertext[:16].hex()}… owner bit {line.owner}")
        verdict = Verdict.POSSIBLE if any(read.data) else Verdict.USELESS
        return log.end(
            verdict, "a line with the TD owner bit reads as zeros, not as ciphertext, outside SEAM"
        )

    def use_private_keyid(self) -> Attack:
        """Read private memory with the TD's KeyID."""
        log = Log("private KeyID", "map the secret's page with the TD's own KeyID")
        address = self.physical(DATA) | self.td.hkid << self.platform.hkid_shift
        try:
            self.platform.read(address, 8)
        except UsageError as refusal:
            log.add(f"load from {address:#x}", refusal.message)
            return log.end(Verdict.REFUSED, "outside SEAM the bits of private KeyIDs are reserved: #PF")
        return log.end(Verdict.POSSIBLE, "the load went through")

    def corrupt(self) -> Attack:
        """Write over private memory."""
        log = Log("corrupt", "write over the secret")
        page = self.physical(DATA)
        self.platform.write(page, b"HOST WAS HERE")
        log.add("the host reads back what it wrote", repr(self.platform.read(page, 13)))
        _, seen = self._look(log, "the guest reads its secret", read_plain)
        self._try(log, "TDH.VP.ENTER", rcx=self.vcpu)
        why = "stores are not checked, loads are: the TD dies before it uses the data"
        return log.end(Verdict.POSSIBLE if seen else Verdict.DETECTED, why)

    def corrupt_tables(self) -> Attack:
        """Write over a page of the Secure EPT."""
        log = Log("corrupt tables", "write over a Secure EPT page to change a mapping")
        entry = next(iter(self.platform.tdrs[self.td.tdr >> 12].tdcs.sept.near.values()))
        self.platform.write(entry.pfn << 12, bytes(8))
        result = self._try(log, "TDH.MEM.SEPT.RD", rcx=DATA, rdx=self.td.tdr)
        dead = result.status == VMFAIL_INVALID
        why = "the module's read is a machine check inside SEAM: TDX stops on the whole platform"
        return log.end(Verdict.DETECTED if dead else Verdict.POSSIBLE, why)

    # KeyIDs and the end of a TD.

    def reuse_keyid(self) -> Attack:
        """Bind a TD's KeyID to another TD."""
        log = Log("reuse KeyID", "make a second TD under the victim's KeyID")
        result = self._try(log, "TDH.MNG.CREATE", rcx=self.page(), rdx=self.td.hkid)
        return log.refused(result, "the KeyID ownership table says ASSIGNED")

    def free_keyid_early(self) -> Attack:
        """Free the KeyID while caches hold plaintext."""
        log = Log("free KeyID early", "free the KeyID without flush and write-back")
        self._try(log, "TDH.MNG.VPFLUSHDONE", rcx=self.td.tdr)
        for tdvpr in self.td.vcpus:
            self.platform.seamcall("TDH.VP.FLUSH", self.platform.vps[tdvpr >> 12].lp, rcx=tdvpr)
        log.add("VP.FLUSH of both vCPUs", Result(0))
        self._try(log, "TDH.MNG.VPFLUSHDONE", rcx=self.td.tdr)
        result = self._try(log, "TDH.MNG.KEY.FREEID", rcx=self.td.tdr)
        return log.refused(result, "caches may still hold the TD's lines")

    def reclaim_early(self) -> Attack:
        """Take pages back while the TD lives."""
        log = Log("reclaim early", "take the secret's page back while the TD lives")
        result = self._try(log, "TDH.PHYMEM.PAGE.RECLAIM", rcx=self.physical(DATA))
        return log.refused(result, "pages come back in teardown only, when the key is gone")

    def enter_elsewhere(self) -> Attack:
        """Run one vCPU on two processors."""
        log = Log("enter elsewhere", "enter a vCPU on a processor it is not bound to")
        result = self._try(log, "TDH.VP.ENTER", 1, rcx=self.vcpu)
        return log.refused(result, "its state may be cached on the processor it ran on: flush it there first")

    # On the memory bus.

    def swap_on_bus(self) -> Attack:
        """Exchange the ciphertext of two lines."""
        log = Log("swap on the bus", "move the secret's ciphertext to another address of the same TD")
        memory = self.platform.memory
        line = memory.bus_read(self.physical(DATA))
        memory.bus_write(line, self.physical(SCRATCH))
        log.add("an interposer copies line and metadata", f"{line.ciphertext[:16].hex()}…")
        result, seen = self._look(log, "the guest reads the other page", read_scratch)
        if result.status >> 32:
            return log.end(Verdict.DETECTED, "address and key are part of the MAC")
        moved = "the guest read the secret" if seen == repr(SECRET) else "the guest read noise"
        return log.end(Verdict.POSSIBLE, f"{moved} in the other page and was not told: the owner bit fits")

    def replay_on_bus(self) -> Attack:
        """Put an old line back at its own address."""
        log = Log("replay on the bus", "put yesterday's line back at its own address")
        memory = self.platform.memory
        old = memory.bus_read(self.physical(DATA))
        log.add("an interposer keeps the line", f"{old.ciphertext[:16].hex()}…")
        self.run(self.td, overwrite(b"a newer secret    "))
        log.add("the guest writes a new value", "a newer secret")
        memory.bus_write(old)
        _, seen = self._look(log, "the interposer puts the old line back; the guest reads", read_plain)
        why = "owner bit and MAC fit the old line too, no counter tells its age; it takes a probe on the bus"
        return log.end(Verdict.POSSIBLE if seen == repr(SECRET) else Verdict.DETECTED, why)

    def drop_on_bus(self) -> Attack:
        """Let a write of the guest get lost."""
        log = Log("drop on the bus", "let the guest believe that its old secret is gone")
        memory = self.platform.memory
        memory.dropped.add(self.physical(DATA))
        log.add("an interposer drops what is written to the secret's line", "the DIMM keeps the old line")
        self.run(self.td, overwrite(bytes(len(SECRET))))
        log.add("the guest overwrites its secret with zeros", "the write completes")
        _, seen = self._look(log, "the guest reads it again", read_plain)
        why = "the old line is whole, with its owner bit and MAC: nothing says that it should be a newer one"
        return log.end(Verdict.POSSIBLE if seen == repr(SECRET) else Verdict.DETECTED, why)

    # What TDX does not try to stop.

    def lie(self) -> Attack:
        """Give a false answer to a TDVMCALL."""
        log = Log("lie", "answer a TDVMCALL with a value that is not true")
        self.msrs[0x10] = 0xDEADBEEF
        _, seen = self._look(log, "the guest asks for an MSR", read_msr)
        why = "the module only selects registers; what they mean the guest must check"
        return log.end(Verdict.POSSIBLE if "0xdeadbeef" in seen else Verdict.REFUSED, why)

    def refuse_service(self) -> Attack:
        """Never enter the TD again."""
        log = Log("refuse service", "keep the TD from running")
        log.add("the host does not call TDH.VP.ENTER", "nothing happens")
        return log.end(Verdict.POSSIBLE, "availability is outside of TDX's promise")

    def trace_pages(self) -> Attack:
        """Block pages and watch which ones the guest touches."""
        log = Log("page tracing", "learn which pages the guest touches, in which order")
        secret = 0b1011
        touched = self.watch(walk_by_secret(secret), range(CODE, SCRATCH + 0x1000, 0x1000))
        log.add("pages the host saw, in order", " ".join(f"{gpa:#x}" for gpa in touched))
        bits = [int(gpa == DATA) for gpa in touched if gpa != CODE]
        log.add("the bits of the secret that chose the pages", " ".join(map(str, bits)))
        learned = sum(bit << i for i, bit in enumerate(bits)) == secret
        why = "BLOCK and UNBLOCK are the host's right: the data stays hidden, the pattern does not"
        return log.end(Verdict.POSSIBLE if learned else Verdict.USELESS, why)

    def watch(self, program: Program, pages: range) -> list[int]:
        """Run a program with all but the last touched page blocked; returns the pages in order of touch."""
        platform, tdr = self.platform, self.td.tdr
        platform.attach(self.vcpu, program)
        for gpa in pages:
            platform.seamcall("TDH.MEM.RANGE.BLOCK", rcx=gpa, rdx=tdr)
        self.call("TDH.MEM.TRACK", rcx=tdr)
        touched: list[int] = []
        while True:
            result = platform.seamcall("TDH.VP.ENTER", rcx=self.vcpu)
            gpa = result["r8"]
            if result.status != 48 or gpa not in pages:
                return touched
            if touched:
                self.call("TDH.MEM.RANGE.BLOCK", rcx=touched[-1], rdx=tdr)
                self.call("TDH.MEM.TRACK", rcx=tdr)
            self.call("TDH.MEM.RANGE.UNBLOCK", rcx=gpa, rdx=tdr)
            touched.append(gpa)


ATTACKS: tuple[str, ...] = (
    "alias", "steal", "remap", "remove_without_block", "skip_track", "add_after_finalize", "measure_again",
    "run_before_finalize", "change_firmware", "pass_off_debug", "debug_read", "read_memory",
    "use_private_keyid", "corrupt", "corrupt_tables", "reuse_keyid", "free_keyid_early", "reclaim_early",
    "enter_elsewhere", "swap_on_bus", "replay_on_bus", "drop_on_bus", "lie", "refuse_service", "trace_pages",
)  # fmt: skip


def attack(name: str, config: PlatformConfig | None = None) -> Attack:
    """Run one attack on a fresh platform with a fresh victim.

    Raises:
        UsageError: no attack has that name.
    """
    if name not in ATTACKS:
        raise UsageError(f"There is no attack {name!r}.", f"Known: {', '.join(ATTACKS)}.")
    outcome: Attack = getattr(HostileVmm(config), name)()
    return outcome
