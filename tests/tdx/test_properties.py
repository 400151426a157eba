"""What holds whatever a hostile VMM calls, in whatever order.

LABKIT_TDX_SEQUENCES sets the number of random sequences: 300 by default and always the same ones; with
another number, for nightly runs, they are drawn anew.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from labkit.errors import NotModelled, UsageError
from labkit.tdx import GuestException, Result, Section, TdExit, TdParams
from labkit.tdx.states import OpState
from tests.tdx.invariants import check
from tests.tdx.worlds import vmm

SEQUENCES = int(os.environ.get("LABKIT_TDX_SEQUENCES", "300"))
SECRET = b"\xa5SECRET\x5a"
GPAS = (0x1000, 0x2000, 0x3000, 0x200000)
ENTRIES = (*GPAS, 0x1, 0x200001, 0x400001, 0x40000002)
# Leaves by the kind of operand in each register: g entry, t TDR, p page, s host page, v TDVPR, n number.
LEAVES = {
    "TDH.MEM.PAGE.ADD": "gtps",
    "TDH.MEM.PAGE.AUG": "gtp",
    "TDH.MEM.SEPT.ADD": "gtp",
    "TDH.MEM.PAGE.RELOCATE": "gtp",
    "TDH.MEM.RANGE.BLOCK": "gt",
    "TDH.MEM.RANGE.UNBLOCK": "gt",
    "TDH.MEM.PAGE.REMOVE": "gt",
    "TDH.MEM.SEPT.REMOVE": "gt",
    "TDH.MEM.PAGE.DEMOTE": "gtp",
    "TDH.MEM.PAGE.PROMOTE": "gt",
    "TDH.MEM.SEPT.RD": "gt",
    "TDH.MEM.RD": "gt",
    "TDH.MEM.WR": "gtn",
    "TDH.MEM.TRACK": "t",
    "TDH.MR.EXTEND": "gt",
    "TDH.MR.FINALIZE": "t",
    "TDH.MNG.CREATE": "pk",
    "TDH.MNG.KEY.CONFIG": "t",
    "TDH.MNG.ADDCX": "pt",
    "TDH.MNG.INIT": "ts",
    "TDH.MNG.VPFLUSHDONE": "t",
    "TDH.MNG.KEY.FREEID": "t",
    "TDH.MNG.RD": "tn",
    "TDH.VP.CREATE": "pt",
    "TDH.VP.ADDCX": "pv",
    "TDH.VP.INIT": "vn",
    "TDH.VP.FLUSH": "v",
    "TDH.VP.ENTER": "v",
    "TDH.VP.RD": "vn",
    "TDH.PHYMEM.PAGE.RECLAIM": "p",
    "TDH.PHYMEM.PAGE.RDMD": "p",
    "TDH.PHYMEM.CACHE.WB": "n",
}
REGISTERS = ("rcx", "rdx", "r8", "r9")
INDEX = st.integers(0, 255)
LP = st.integers(0, 1)


class Hostile(RuleBasedStateMachine):
    """A running TD that keeps a secret, a second TD being built, and a host that calls anything."""

    @initialize(pending_ve=st.booleans())
    def build(self, pending_ve: bool) -> None:
        self.host = vmm()
        self.platform = self.host.platform
        params = TdParams(attributes=0 if pending_ve else 1 << 28)
        self.td = self.host.launch(
            [Section(gpa, 0x1000, b"code", 1) for gpa in GPAS[:3]], params=params, vcpus=2
        )
        self.other = self.host.create()
        self.host.tables(self.other, 0x1000)
        self.host.platform.write(self.host._staging, TdParams().pack())
        fresh = [self.host.page() for _ in range(6)]
        self.pages = [*self.td.pages[6::3], *self.td.pages[-5:], *self.other.pages[-4:], *fresh]
        self.tdrs = [self.td.tdr, self.td.tdr, self.other.tdr, fresh[0]]
        self.vcpus = [*self.td.vcpus, fresh[1]]
        self.shadow = {gpa: b"code".ljust(8, b"\0") for gpa in GPAS[:3]}
        self.measured = {self.other.tdr: hashlib.sha384()}
        self.finalized: dict[int, bytes] = {self.td.tdr: self.host.mrtd(self.td)}
        self.enter(0, 0)
        self.guest_store(1, 0)
        if self.platform.lps[0].active:
            self.platform.interrupt(0)

    def pick(self, kind: str, choice: int) -> int:
        keyids = (33, 34, 35, 0, 32)
        pools: dict[str, Any] = {
            "g": ENTRIES,
            "t": self.tdrs,
            "p": self.pages,
            "s": (self.host._staging, 0x1000),
            "v": self.vcpus,
            "n": (0, 1, 0x1110000300000017, 0x1000000300000000),
            "k": keyids,
        }
        return int(pools[kind][choice % len(pools[kind])])

    # The host.

    @rule(
        name=st.sampled_from(sorted(LEAVES)),
        choices=st.tuples(INDEX, INDEX, INDEX, INDEX),
        lp=LP,
    )
    def call(self, name: str, choices: tuple[int, ...], lp: int) -> None:
        kinds = LEAVES[name]
        regs = {r: self.pick(k, c) for r, k, c in zip(REGISTERS, kinds, choices, strict=False)}
        self.seamcall(name, lp, **regs)

    def seamcall(self, name: str, lp: int = 0, **regs: int) -> Result | None:
        if self.platform.lps[lp].active is not None:
            return None
        try:
            result = self.platform.seamcall(name, lp, **regs)
        except NotModelled:
            return None
        self.note(name, regs, result)
        words = [value.to_bytes(8, "little") for value in result.regs.values()]
        assert SECRET not in words, f"{name} disclosed the secret"
        return result

    def note(self, name: str, regs: dict[str, int], result: Result) -> None:
        """Keep an independent record of what is measured."""
        tdr = regs.get("rdx", 0)
        if not result.ok:
            return
        if name == "TDH.MNG.INIT":
            self.measured[regs["rcx"]] = hashlib.sha384()
        elif name == "TDH.MEM.PAGE.ADD":
            gpa = regs["rcx"].to_bytes(8, "little")
            self.measured[tdr].update(b"MEM.PAGE.ADD".ljust(16, b"\0") + gpa + bytes(104))
        elif name == "TDH.MR.EXTEND":
            gpa = regs["rcx"].to_bytes(8, "little")
            added = self.platform.read(self.host._staging, 256)
            self.measured[tdr].update(b"MR.EXTEND".ljust(16, b"\0") + gpa + bytes(104))
            if regs.get("r9", self.host._staging) == self.host._staging:
                self.measured[tdr].update(added)
        elif name == "TDH.MR.FINALIZE":
            self.finalized[regs["rcx"]] = self.measured[regs["rcx"]].digest()

    @rule(choice=INDEX, lp=LP)
    def add_and_measure(self, choice: int, lp: int) -> None:
        """The honest path, so that the second TD gets somewhere."""
        gpa = self.pick("g", choice)
        regs = {"rdx": self.other.tdr, "r8": self.pages[choice % len(self.pages)], "r9": self.host._staging}
        self.seamcall("TDH.MEM.PAGE.ADD", lp, rcx=gpa, **regs)

    @rule(page=INDEX, keyid=INDEX)
    def create(self, page: int, keyid: int) -> None:
        """Another TD, on any page and under any KeyID."""
        self.seamcall("TDH.MNG.CREATE", 1, rcx=self.pick("p", page), rdx=self.pick("k", keyid))

    @rule(choice=INDEX)
    def replace(self, choice: int) -> None:
        """The honest path of taking a page and offering another."""
        gpa = GPAS[choice % 3]
        tdr, page = self.td.tdr, self.pages[choice % len(self.pages)]
        self.seamcall("TDH.MEM.RANGE.BLOCK", 1, rcx=gpa, rdx=tdr)
        self.seamcall("TDH.MEM.TRACK", 1, rcx=tdr)
        removed = self.seamcall("TDH.MEM.PAGE.REMOVE", 1, rcx=gpa, rdx=tdr)
        if removed is not None and removed.ok and choice & 64:
            page = removed["rcx"]
        self.seamcall("TDH.MEM.PAGE.AUG", 1, rcx=gpa, rdx=tdr, r8=page)

    @rule(choice=INDEX, offset=st.sampled_from((0, 8, 64)))
    def host_write(self, choice: int, offset: int) -> None:
        self.platform.write(self.pages[choice % len(self.pages)] + offset, b"HOSTHOST")

    @rule(choice=INDEX, keyid=st.sampled_from((32, 33, 34)))
    def private_keyid(self, choice: int, keyid: int) -> None:
        address = self.pages[choice % len(self.pages)] | keyid << self.platform.hkid_shift
        try:
            self.platform.read(address, 8)
        except UsageError:
            return
        raise AssertionError("a private KeyID worked outside SEAM")

    # The guest: what it reads is what it wrote, or it learns that something happened.

    @rule(choice=st.integers(0, 1), lp=LP)
    def enter(self, choice: int, lp: int) -> None:
        self.seamcall("TDH.VP.ENTER", lp, rcx=self.td.vcpus[choice])

    def victim_lp(self) -> int | None:
        for lp in self.platform.lps:
            if lp.active is not None and lp.active.tdr.pfn == self.td.tdr >> 12:
                return lp.index
        return None

    @precondition(lambda self: hasattr(self, "td") and self.victim_lp() is not None)
    @rule(choice=INDEX, data=st.integers(0, 2))
    def guest_store(self, choice: int, data: int) -> None:
        lp = self.victim_lp()
        gpa = GPAS[choice % len(GPAS)]
        value = (SECRET, b"\1" * 8, b"\2" * 8)[data]
        if lp is None:
            return
        try:
            self.platform.store(gpa, value, lp)
        except (GuestException, TdExit):
            return
        assert gpa in self.shadow, "a store went to a page that the guest never accepted"
        self.shadow[gpa] = value

    @precondition(lambda self: hasattr(self, "td") and self.victim_lp() is not None)
    @rule(choice=INDEX)
    def guest_load(self, choice: int) -> None:
        lp = self.victim_lp()
        gpa = GPAS[choice % len(GPAS)]
        assert lp is not None
        try:
            value = self.platform.load(gpa, 8, lp)
        except (GuestException, TdExit):
            return
        assert value == self.shadow.get(gpa), "private memory changed and the guest was not told"

    @precondition(lambda self: hasattr(self, "td") and self.victim_lp() is not None)
    @rule(choice=INDEX, large=st.booleans())
    def guest_accept(self, choice: int, large: bool) -> None:
        lp = self.victim_lp()
        assert lp is not None
        gpa = GPAS[choice % len(GPAS)]
        base = gpa & ~0x1FFFFF if large else gpa
        try:
            self.platform.tdcall("TDG.VP.VEINFO.GET", lp)
            result = self.platform.tdcall("TDG.MEM.PAGE.ACCEPT", lp, rcx=base | int(large))
        except TdExit:
            return
        if result.status == 0:
            for page in GPAS:
                if page == gpa or (large and page & ~0x1FFFFF == base):
                    self.shadow[page] = bytes(8)

    @rule(choice=st.integers(64, 66))
    def offer_the_same_page_again(self, choice: int) -> None:
        """What a guest accepts is empty, even where it is its own old page."""
        self.replace(choice)
        self.enter(0, 0)
        if self.victim_lp() is not None:
            self.guest_accept(choice % 3, False)
        if self.victim_lp() is not None:
            self.guest_load(choice % 3)

    @precondition(lambda self: hasattr(self, "td") and self.victim_lp() is not None)
    @rule()
    def interrupt(self) -> None:
        lp = self.victim_lp()
        assert lp is not None
        self.platform.interrupt(lp)

    # What must hold after every step.

    @invariant()
    def nothing_is_disclosed(self) -> None:
        if not hasattr(self, "pages"):
            return
        for page in {*self.pages, *self.td.pages}:
            assert SECRET not in self.platform.read(page, 16)

    @invariant()
    def pamt_sept_life_cycle_and_locks_agree(self) -> None:
        if hasattr(self, "td"):
            check(self.platform)

    @invariant()
    def measurements_are_what_was_measured(self) -> None:
        for tdr, digest in getattr(self, "finalized", {}).items():
            record = self.platform.tdrs.get(tdr >> 12)
            if record is not None and record.tdcs.op_state is OpState.RUNNABLE:
                assert record.tdcs.mrtd == digest


TestHostile = Hostile.TestCase
TestHostile.settings = settings(
    max_examples=SEQUENCES,
    stateful_step_count=25,
    deadline=None,
    derandomize=SEQUENCES == 300,
    database=None,
    suppress_health_check=list(HealthCheck),
)
