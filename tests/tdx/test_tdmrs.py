"""Memory for TDs: where a range, its holes and its PAMT areas may lie (TDX Module 1.5, TDH.SYS.CONFIG)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labkit.tdx import PlatformConfig
from labkit.tdx.params import GIB, Tdmr
from labkit.tdx.status import Operand, Status, decode
from labkit.tdx.vmm import default_tdmr
from tests.tdx.worlds import BLOCKED, LARGE_BLOCKED, MIB2, SPLIT_BLOCKED, World, configure, uninitialized

GOOD = default_tdmr()
HIGH = GOOD.base
# Convertible memory ends 32 MiB below 2 GiB, and begins at 1 MiB.
LOW_END = 0x7E000000
PAMTS = (GOOD.pamt_1g[0], GIB // 4)
NEXT = replace(
    GOOD,
    base=HIGH + GIB,
    pamt_1g=(GOOD.pamt_1g[0] + 0x2000000, GOOD.pamt_1g[1]),
    pamt_2m=(GOOD.pamt_2m[0] + 0x2000000, GOOD.pamt_2m[1]),
    pamt_4k=(GOOD.pamt_4k[0] + 0x2000000, GOOD.pamt_4k[1]),
)


def with_(reserved: tuple[tuple[int, int], ...] = (), **changes: object) -> Tdmr:
    return replace(GOOD, reserved=reserved, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tdmrs", "status"),
    [
        ([GOOD], Status.SUCCESS),
        ([GOOD, NEXT], Status.SUCCESS),
        ([NEXT, GOOD], Status.NON_ORDERED_TDMR),
        ([with_(base=HIGH + GIB // 2)], Status.INVALID_TDMR),
        ([with_(size=0)], Status.INVALID_TDMR),
        ([with_(size=GIB + 0x1000)], Status.INVALID_TDMR),
        ([with_(base=(1 << 64) - GIB)], Status.INVALID_TDMR),
        # A hole may hide what is not convertible, at either end; a page less hides too little.
        ([with_(((0, 0x100000),), base=0)], Status.SUCCESS),
        ([with_(((0, 0xFF000),), base=0)], Status.TDMR_OUTSIDE_CMRS),
        ([with_(((LOW_END - GIB, 0x2000000),), base=GIB)], Status.SUCCESS),
        ([with_(((LOW_END - GIB, 0x1FFF000),), base=GIB)], Status.TDMR_OUTSIDE_CMRS),
        ([with_(((LOW_END - GIB + 0x1000, 0x1FFF000),), base=GIB)], Status.TDMR_OUTSIDE_CMRS),
        # Holes: pages, in order, apart, inside; the last one may be unused, none between used ones.
        ([with_(((0, 0x1000),))], Status.SUCCESS),
        ([with_(((GIB - 0x1000, 0x1000),))], Status.SUCCESS),
        ([with_(((0, GIB),))], Status.SUCCESS),
        ([with_(((GIB - 0x1000, 0x2000),))], Status.INVALID_RESERVED_IN_TDMR),
        ([with_(((GIB, 0x1000),))], Status.INVALID_RESERVED_IN_TDMR),
        ([with_(((0, 0x800),))], Status.INVALID_RESERVED_IN_TDMR),
        ([with_(((0x800, 0x1000),))], Status.INVALID_RESERVED_IN_TDMR),
        ([with_((((1 << 64) - 0x1000, 0x1000),))], Status.INVALID_RESERVED_IN_TDMR),
        ([with_(((0, 0x1000), (0x1000, 0x1000)))], Status.SUCCESS),
        ([with_(((0, 0x2000), (0x1000, 0x1000)))], Status.NON_ORDERED_RESERVED_IN_TDMR),
        ([with_(((0x1000, 0x1000), (0, 0x1000)))], Status.NON_ORDERED_RESERVED_IN_TDMR),
        ([with_(((0, 0), (0x1000, 0x1000)))], Status.NON_ORDERED_RESERVED_IN_TDMR),
        # PAMT areas: whole pages, large enough, apart from each other and from usable memory.
        ([with_(pamt_1g=(GOOD.pamt_1g[0] + 0x800, GOOD.pamt_1g[1]))], Status.INVALID_PAMT),
        ([with_(pamt_2m=(GOOD.pamt_2m[0], GOOD.pamt_2m[1] - 0x1000))], Status.INVALID_PAMT),
        ([with_(pamt_4k=(GOOD.pamt_4k[0], GOOD.pamt_4k[1] - 0x1000))], Status.INVALID_PAMT),
        ([with_(pamt_4k=(GOOD.pamt_4k[0], GOOD.pamt_4k[1] + 0x1000))], Status.SUCCESS),
        ([with_(pamt_1g=(GOOD.pamt_2m[0], 0x1000))], Status.PAMT_OVERLAP),
        ([with_(pamt_1g=(GOOD.pamt_4k[0] + GOOD.pamt_4k[1] - 0x1000, 0x1000))], Status.PAMT_OVERLAP),
        ([with_(pamt_1g=(GOOD.pamt_4k[0] + GOOD.pamt_4k[1], 0x1000))], Status.SUCCESS),
        ([with_(pamt_1g=(HIGH, 0x1000))], Status.PAMT_OVERLAP),
        ([with_(((0, 0x1000),), pamt_1g=(HIGH, 0x1000))], Status.SUCCESS),
        ([with_(((0x1000, 0x1000),), pamt_1g=(HIGH, 0x1000))], Status.PAMT_OVERLAP),
        ([with_(((0x1000, 0x1000),), pamt_1g=(HIGH + 0x1000, 0x1000))], Status.SUCCESS),
        ([with_(((0x1000, 0x1000),), pamt_1g=(HIGH + 0x2000, 0x1000))], Status.PAMT_OVERLAP),
        ([with_(pamt_1g=(HIGH + GIB - 0x1000, 0x1000))], Status.PAMT_OVERLAP),
        ([with_(pamt_1g=(HIGH + GIB, 0x1000))], Status.SUCCESS),
        ([with_(pamt_1g=(HIGH + GIB, 0x1000)), NEXT], Status.PAMT_OVERLAP),
        ([GOOD, replace(NEXT, pamt_1g=(HIGH, 0x1000))], Status.PAMT_OVERLAP),
        ([GOOD, replace(NEXT, pamt_1g=GOOD.pamt_1g)], Status.PAMT_OVERLAP),
        ([with_(pamt_1g=(LOW_END - 0x1000, 0x1000))], Status.SUCCESS),
        ([with_(pamt_1g=(LOW_END, 0x1000))], Status.PAMT_OUTSIDE_CMRS),
        ([with_(pamt_1g=(0x100000, 0x1000))], Status.SUCCESS),
        ([with_(pamt_1g=(0xFF000, 0x1000))], Status.PAMT_OUTSIDE_CMRS),
    ],
)
def test_each_edge_of_a_tdmr_is_taken_or_refused_by_its_name(tdmrs: list[Tdmr], status: Status) -> None:
    assert decode(configure(*tdmrs).status).status is status


@pytest.mark.parametrize(
    ("cmrs", "fits"),
    [
        (((0x100000, 0x7DF00000), (4 * GIB, 4 * GIB)), True),
        # Two that meet are one; an empty one between them is none.
        (((0x100000, 0x7DF00000), (4 * GIB, GIB + GIB // 2), (5 * GIB + GIB // 2, GIB)), True),
        (((0x100000, 0x7DF00000), (4 * GIB, GIB + GIB // 2), (0, 0), (5 * GIB + GIB // 2, GIB)), True),
        (((0x100000, 0x7DF00000), (4 * GIB, GIB + GIB // 2), (5 * GIB + GIB // 2 + 0x1000, GIB)), False),
        (((0x100000, 0x7DF00000), (4 * GIB, 2 * GIB - 0x1000)), False),
        ((PAMTS, (5 * GIB, GIB)), True),
        ((PAMTS, (5 * GIB + 0x1000, GIB)), False),
    ],
)
def test_a_tdmr_lies_in_convertible_memory_to_its_last_page(
    cmrs: tuple[tuple[int, int], ...], fits: bool
) -> None:
    assert configure(GOOD, config=PlatformConfig(cmrs=cmrs)).ok is fits


def test_a_td_whose_tables_were_taken_away_is_taken_apart_to_its_root() -> None:
    """Each page that a TD gives back is counted once: its root is free when the last one is."""
    world = World().finalize()
    gone = (
        ("TDH.MEM.PAGE.REMOVE", BLOCKED),
        ("TDH.MEM.PAGE.REMOVE", LARGE_BLOCKED | 1),
        ("TDH.MEM.SEPT.REMOVE", 3 * MIB2 | 1),
        ("TDH.MEM.PAGE.PROMOTE", SPLIT_BLOCKED | 1),
    )
    for leaf, entry in gone:
        freed = world.ok(leaf, rcx=entry, rdx=world.tdr)["rcx"]
        world.td.pages.remove(freed)
    world.td.vcpus[:] = [world.ready, world.complete, world.bare]
    root = {"rcx": world.tdr}
    assert not world.platform.seamcall("TDH.PHYMEM.PAGE.RECLAIM", **root).ok
    world.vmm.teardown(world.td)
    assert world.platform.seamcall("TDH.PHYMEM.PAGE.RDMD", **root)["rcx"] == 0


def test_which_answers_name_an_operand() -> None:
    """Not those of class 0, and not those about a TDMR, whose lower half counts TDMRs and areas."""
    for status in Status:
        kind = status.value >> 40 & 0xFF
        level = status in (Status.PAGE_ALREADY_ACCEPTED, Status.PAGE_SIZE_MISMATCH)
        said = decode(status.value | Operand.TDR).operand
        named = f"level {int(Operand.TDR)}" if level else "" if kind in (0x00, 0x0A) else "TDR"
        assert said == named, status
        assert decode(status.value).operand == ""
    assert decode(Status.OPERAND_INVALID.value | 0xFFFF).operand == "65535"


LARGE_FREE = 4 * MIB2


@pytest.mark.parametrize(
    ("page", "status"),
    [
        (HIGH + GIB - MIB2, Status.SUCCESS),
        (HIGH + GIB, Status.OPERAND_ADDR_RANGE_ERROR),
        (HIGH - MIB2, Status.OPERAND_ADDR_RANGE_ERROR),
        (HIGH + GIB - MIB2 + 0x1000, Status.OPERAND_INVALID),
        (HIGH + GIB - MIB2 | 1 << 46, Status.OPERAND_INVALID),
        # One page of it is the root of another TD; or of this one, which the call holds.
        (HIGH + GIB - 2 * MIB2, Status.PAGE_METADATA_INCORRECT),
        (HIGH, Status.OPERAND_BUSY),
    ],
)
def test_a_large_page_is_aligned_covered_and_free(page: int, status: Status) -> None:
    world = World()
    world.vmm.tables(world.td, LARGE_FREE, 1)
    world.ok("TDH.MNG.CREATE", rcx=HIGH + GIB - MIB2 - 0x1000, rdx=41)
    said = decode(
        world.platform.seamcall("TDH.MEM.PAGE.AUG", rcx=LARGE_FREE | 1, rdx=world.tdr, r8=page).status
    )
    assert said.status is status
    assert said.operand == ("" if status is Status.SUCCESS else "R8")


@pytest.mark.parametrize(
    ("leaf", "registers", "operand"),
    [
        ("TDH.MNG.CREATE", {"rdx": 41}, "rcx"),
        ("TDH.MNG.ADDCX", {}, "rcx"),
        ("TDH.VP.CREATE", {}, "rcx"),
        ("TDH.MEM.SEPT.ADD", {"rcx": 6 * MIB2 | 1}, "r8"),
        ("TDH.MEM.PAGE.AUG", {"rcx": 0x2000}, "r8"),
        ("TDH.PHYMEM.PAGE.RECLAIM", {}, "rcx"),
        ("TDH.MNG.RD", {"rdx": 0}, "rcx"),
    ],
)
def test_each_page_that_a_call_names_is_aligned_covered_and_of_its_kind(
    leaf: str, registers: dict[str, int], operand: str
) -> None:
    world = World()
    wrong = {
        HIGH + GIB - 0xFFF: Status.OPERAND_INVALID,
        HIGH + GIB - 0x1000 | 1 << 46: Status.OPERAND_INVALID,
        HIGH + GIB: Status.OPERAND_ADDR_RANGE_ERROR,
        HIGH - 0x1000: Status.OPERAND_ADDR_RANGE_ERROR,
    }
    for page, status in wrong.items():
        words = {"rdx": world.tdr, **registers, operand: page}
        said = decode(world.platform.seamcall(leaf, **words).status)
        assert (said.status, said.operand) == (status, operand.upper()), (leaf, hex(page))


def test_a_vcpu_takes_only_so_many_control_pages_and_a_td_too() -> None:
    """TDX Module 1.5: six pages, and three more for each of three nested VMs; the TDVPR is the first."""
    world = World()
    said = [world.platform.seamcall("TDH.VP.ADDCX", rcx=world.page(), rdx=world.bare) for _ in range(16)]
    taken = sum(result.ok for result in said)
    assert [result.ok for result in said] == [True] * taken + [False] * (16 - taken)
    assert {decode(result.status).status for result in said[taken:]} == {Status.TDCX_NUM_INCORRECT}
    assert taken == 5 + 3 * 3
    host, td = uninitialized()
    more = [host.platform.seamcall("TDH.MNG.ADDCX", rcx=host.page(), rdx=td.tdr) for _ in range(16)]
    # `uninitialized` has added six.
    taken = sum(result.ok for result in more)
    assert {decode(result.status).status for result in more[taken:]} == {Status.TDCX_NUM_INCORRECT}
    assert taken + 6 == 6 + 3
