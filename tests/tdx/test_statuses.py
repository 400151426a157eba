"""Every status code that the model can raise is raised here, and none is raised that has no test."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import labkit.tdx
from labkit.tdx import Platform, PlatformConfig, Result, TdExit, TdParams, Vmm
from labkit.tdx.params import GIB
from labkit.tdx.status import Status, meaning
from labkit.tdx.vmm import default_tdmr
from tests.tdx.worlds import (
    BLOCKED,
    EMPTY,
    FREE,
    LARGE_BLOCKED,
    LARGE_FREE,
    MAPPED,
    NOT_THERE,
    PENDING,
    SPLIT_BLOCKED,
    World,
    configure,
    launched,
    uninitialized,
    vmm,
)

Scenario = Callable[[], Result]
SCENARIOS: dict[Status, Scenario] = {}


def raises(status: Status) -> Callable[[Scenario], Scenario]:
    def note(scenario: Scenario) -> Scenario:
        SCENARIOS[status] = scenario
        return scenario

    return note


def _torn_down() -> tuple[Vmm, int]:
    host, td = uninitialized()
    host.call("TDH.MNG.VPFLUSHDONE", rcx=td.tdr)
    return host, td.tdr


def _fatal() -> World:
    world = World().finalize().enter()
    page = world.platform.tdrs[world.tdr >> 12]
    entry = page.tdcs.sept.walk(MAPPED, 0)
    address = entry[0].entries[entry[1]] & world.platform.pa_mask & ~0xFFF
    world.platform.write(address, b"x")
    with pytest.raises(TdExit) as exit_:
        world.platform.load(MAPPED, 1)
    assert exit_.value.result.name == "NON_RECOVERABLE_TD_NON_ACCESSIBLE"
    return world


def _exit(world: World, act: Callable[[], object]) -> Result:
    with pytest.raises(TdExit) as exit_:
        act()
    return exit_.value.result


@raises(Status.SUCCESS)
def _success() -> Result:
    return Platform().seamcall("TDH.SYS.INIT")


@raises(Status.NON_RECOVERABLE_VCPU)
def _non_recoverable_vcpu() -> Result:
    return World().finalize().enter().platform.triple_fault()


@raises(Status.NON_RECOVERABLE_TD_NON_ACCESSIBLE)
def _non_accessible() -> Result:
    world = World().finalize().enter()
    vp = world.platform.lps[0].active
    assert vp is not None
    world.platform.load(MAPPED, 1)
    world.platform.memory.poison(vp.tlb[0][0] << 12)
    return _exit(world, lambda: world.platform.load(MAPPED, 1))


@raises(Status.INTERRUPTED_RESUMABLE)
def _interrupted_resumable() -> Result:
    host, _ = _torn_down()
    host.platform.lps[0].interrupt = True
    return host.platform.seamcall("TDH.PHYMEM.CACHE.WB", rcx=0)


@raises(Status.INTERRUPTED_RESTARTABLE)
def _interrupted_restartable() -> Result:
    world = World()
    world.platform.lps[0].interrupt = True
    return world.platform.seamcall("TDH.MEM.PAGE.PROMOTE", rcx=SPLIT_BLOCKED | 1, rdx=world.tdr)


@raises(Status.OPERAND_INVALID)
def _operand_invalid() -> Result:
    return vmm().platform.seamcall("TDH.MNG.CREATE", rcx=0x140000001, rdx=40)


@raises(Status.OPERAND_ADDR_RANGE_ERROR)
def _range_error() -> Result:
    return vmm().platform.seamcall("TDH.MNG.CREATE", rcx=0x1000, rdx=40)


@raises(Status.OPERAND_BUSY)
def _busy() -> Result:
    host = vmm()
    page = host.page()
    with host.platform.hold("PAGE", page >> 12):
        return host.platform.seamcall("TDH.MNG.CREATE", rcx=page, rdx=40)


@raises(Status.PREVIOUS_TLB_EPOCH_BUSY)
def _epoch_busy() -> Result:
    world = World().finalize().enter(0)
    world.ok("TDH.MEM.TRACK", 1, rcx=world.tdr)
    return world.platform.seamcall("TDH.MEM.TRACK", 1, rcx=world.tdr)


@raises(Status.SYS_BUSY)
def _sys_busy() -> Result:
    platform = Platform()
    with platform.hold("SYS"):
        return platform.seamcall("TDH.SYS.INIT")


@raises(Status.RND_NO_ENTROPY)
def _no_entropy() -> Result:
    host = vmm()
    host.platform.entropy_failures = 1
    return host.platform.seamcall("TDH.MNG.CREATE", rcx=host.page(), rdx=40)


@raises(Status.PAGE_METADATA_INCORRECT)
def _metadata() -> Result:
    host, td = launched()
    return host.platform.seamcall("TDH.MNG.CREATE", rcx=td.tdr, rdx=40)


@raises(Status.TD_ASSOCIATED_PAGES_EXIST)
def _pages_exist() -> Result:
    host, tdr = _torn_down()
    host.call("TDH.PHYMEM.CACHE.WB")
    host.call("TDH.MNG.KEY.FREEID", rcx=tdr)
    return host.platform.seamcall("TDH.PHYMEM.PAGE.RECLAIM", rcx=tdr)


@raises(Status.SYS_INIT_NOT_PENDING)
def _init_twice() -> Result:
    platform = Platform()
    platform.seamcall("TDH.SYS.INIT")
    return platform.seamcall("TDH.SYS.INIT")


@raises(Status.SYS_LP_INIT_NOT_DONE)
def _lp_not_done() -> Result:
    platform = Platform()
    platform.seamcall("TDH.SYS.INIT")
    return platform.seamcall("TDH.SYS.INFO")


@raises(Status.SYS_LP_INIT_DONE)
def _lp_twice() -> Result:
    platform = Platform()
    platform.seamcall("TDH.SYS.INIT")
    platform.seamcall("TDH.SYS.LP.INIT")
    return platform.seamcall("TDH.SYS.LP.INIT")


@raises(Status.SYS_NOT_READY)
def _not_ready() -> Result:
    return Platform().seamcall("TDH.MNG.CREATE")


@raises(Status.SYS_SHUTDOWN)
def _shutdown() -> Result:
    host = vmm()
    assert host.platform.seamcall("TDH.SYS.SHUTDOWN").ok
    return host.platform.seamcall("TDH.MNG.CREATE")


@raises(Status.SYS_KEY_CONFIG_NOT_PENDING)
def _key_config_early() -> Result:
    return Platform().seamcall("TDH.SYS.KEY.CONFIG")


@raises(Status.SYS_LP_INIT_NOT_PENDING)
def _lp_init_early() -> Result:
    return Platform().seamcall("TDH.SYS.LP.INIT")


@raises(Status.SYS_CONFIG_NOT_PENDING)
def _config_early() -> Result:
    return Platform().seamcall("TDH.SYS.CONFIG")


@raises(Status.TD_FATAL)
def _td_fatal() -> Result:
    world = _fatal()
    return world.platform.seamcall("TDH.MEM.TRACK", rcx=world.tdr)


@raises(Status.TD_NON_DEBUG)
def _non_debug() -> Result:
    host, td = launched()
    return host.platform.seamcall("TDH.MEM.RD", rcx=0x1000, rdx=td.tdr)


@raises(Status.TDCS_NOT_ALLOCATED)
def _no_tdcs() -> Result:
    host = vmm()
    tdr = host.page()
    host.call("TDH.MNG.CREATE", rcx=tdr, rdx=40)
    host.call("TDH.MNG.KEY.CONFIG", rcx=tdr)
    return host.platform.seamcall("TDH.MNG.INIT", rcx=tdr)


@raises(Status.LIFECYCLE_STATE_INCORRECT)
def _life_cycle() -> Result:
    host, td = launched()
    return host.platform.seamcall("TDH.MNG.KEY.FREEID", rcx=td.tdr)


@raises(Status.OP_STATE_INCORRECT)
def _op_state() -> Result:
    host, td = launched()
    return host.platform.seamcall("TDH.MR.FINALIZE", rcx=td.tdr)


@raises(Status.NO_VCPUS)
def _no_vcpus() -> Result:
    host = vmm()
    return host.platform.seamcall("TDH.MR.FINALIZE", rcx=host.create().tdr)


@raises(Status.TDCX_NUM_INCORRECT)
def _tdcx() -> Result:
    world = World()
    return world.platform.seamcall("TDH.VP.INIT", rcx=world.bare)


@raises(Status.VCPU_STATE_INCORRECT)
def _vcpu_state() -> Result:
    world = World()
    return world.platform.seamcall("TDH.VP.INIT", rcx=world.ready)


@raises(Status.VCPU_ASSOCIATED)
def _vcpu_associated() -> Result:
    world = World().finalize()
    return world.platform.seamcall("TDH.VP.ENTER", 1, rcx=world.ready)


@raises(Status.VCPU_NOT_ASSOCIATED)
def _vcpu_not_associated() -> Result:
    world = World()
    return world.platform.seamcall("TDH.VP.FLUSH", 1, rcx=world.ready)


@raises(Status.NO_VALID_VE_INFO)
def _no_ve() -> Result:
    return World().finalize().enter().platform.tdcall("TDG.VP.VEINFO.GET")


@raises(Status.MAX_VCPUS_EXCEEDED)
def _max_vcpus() -> Result:
    host = vmm()
    td = host.create(TdParams(max_vcpus=1))
    host.add_vcpu(td)
    page = host.page()
    host.call("TDH.VP.CREATE", rcx=page, rdx=td.tdr)
    for _ in range(5):
        host.call("TDH.VP.ADDCX", rcx=host.page(), rdx=page)
    return host.platform.seamcall("TDH.VP.INIT", rcx=page)


@raises(Status.TSC_ROLLBACK)
def _tsc() -> Result:
    world = World().finalize()
    world.platform.tsc = 100
    world.enter().platform.interrupt()
    world.platform.tsc = 99
    return world.platform.seamcall("TDH.VP.ENTER", rcx=world.ready)


@raises(Status.KEY_GENERATION_FAILED)
def _key_generation() -> Result:
    host = vmm()
    tdr = host.page()
    host.call("TDH.MNG.CREATE", rcx=tdr, rdx=40)
    host.platform.entropy_failures = 1
    return host.platform.seamcall("TDH.MNG.KEY.CONFIG", rcx=tdr)


@raises(Status.TD_KEYS_NOT_CONFIGURED)
def _no_keys() -> Result:
    host = vmm()
    tdr = host.page()
    host.call("TDH.MNG.CREATE", rcx=tdr, rdx=40)
    return host.platform.seamcall("TDH.MNG.ADDCX", rcx=host.page(), rdx=tdr)


@raises(Status.KEY_CONFIGURED)
def _key_configured() -> Result:
    host = vmm(PlatformConfig(packages=2))
    tdr = host.page()
    host.call("TDH.MNG.CREATE", rcx=tdr, rdx=40)
    host.call("TDH.MNG.KEY.CONFIG", rcx=tdr)
    return host.platform.seamcall("TDH.MNG.KEY.CONFIG", rcx=tdr)


@raises(Status.WBCACHE_NOT_COMPLETE)
def _wbcache() -> Result:
    host, tdr = _torn_down()
    return host.platform.seamcall("TDH.MNG.KEY.FREEID", rcx=tdr)


@raises(Status.HKID_NOT_FREE)
def _hkid() -> Result:
    host, td = launched()
    return host.platform.seamcall("TDH.MNG.CREATE", rcx=host.page(), rdx=td.hkid)


@raises(Status.NO_HKID_READY_TO_WBCACHE)
def _no_hkid() -> Result:
    return vmm().platform.seamcall("TDH.PHYMEM.CACHE.WB")


@raises(Status.WBCACHE_RESUME_ERROR)
def _resume() -> Result:
    return vmm().platform.seamcall("TDH.PHYMEM.CACHE.WB", rcx=1)


@raises(Status.FLUSHVP_NOT_DONE)
def _flush() -> Result:
    host, td = launched()
    return host.platform.seamcall("TDH.MNG.VPFLUSHDONE", rcx=td.tdr)


@raises(Status.INVALID_TDMR)
def _invalid_tdmr() -> Result:
    return configure(replace(default_tdmr(), base=5 * GIB + 0x1000))


@raises(Status.NON_ORDERED_TDMR)
def _non_ordered() -> Result:
    return configure(default_tdmr(), default_tdmr())


@raises(Status.TDMR_OUTSIDE_CMRS)
def _outside_cmrs() -> Result:
    return configure(replace(default_tdmr(), base=2 * GIB))


@raises(Status.TDMR_ALREADY_INITIALIZED)
def _tdmr_done() -> Result:
    return vmm().platform.seamcall("TDH.SYS.TDMR.INIT", rcx=5 * GIB)


@raises(Status.INVALID_PAMT)
def _invalid_pamt() -> Result:
    tdmr = default_tdmr()
    return configure(replace(tdmr, pamt_4k=(tdmr.pamt_4k[0], 0x1000)))


@raises(Status.PAMT_OUTSIDE_CMRS)
def _pamt_outside() -> Result:
    return configure(replace(default_tdmr(), pamt_1g=(0xC0000000, 0x1000)))


@raises(Status.PAMT_OVERLAP)
def _pamt_overlap() -> Result:
    tdmr = default_tdmr()
    return configure(replace(tdmr, pamt_1g=(tdmr.base, 0x1000)))


@raises(Status.INVALID_RESERVED_IN_TDMR)
def _invalid_reserved() -> Result:
    return configure(replace(default_tdmr(), reserved=((0x800, 0x1000),)))


@raises(Status.NON_ORDERED_RESERVED_IN_TDMR)
def _non_ordered_reserved() -> Result:
    return configure(replace(default_tdmr(), reserved=((0x2000, 0x1000), (0x1000, 0x1000))))


@raises(Status.EPT_WALK_FAILED)
def _walk() -> Result:
    world = World()
    return world.platform.seamcall("TDH.MEM.PAGE.AUG", rcx=NOT_THERE, rdx=world.tdr, r8=world.page())


@raises(Status.EPT_ENTRY_NOT_PRESENT)
def _not_present() -> Result:
    world = World()
    return world.platform.seamcall("TDH.MR.EXTEND", rcx=FREE, rdx=world.tdr)


@raises(Status.GPA_RANGE_NOT_BLOCKED)
def _not_blocked() -> Result:
    world = World().finalize()
    return world.platform.seamcall("TDH.MEM.PAGE.REMOVE", rcx=MAPPED, rdx=world.tdr)


@raises(Status.GPA_RANGE_ALREADY_BLOCKED)
def _already_blocked() -> Result:
    world = World()
    return world.platform.seamcall("TDH.MEM.RANGE.BLOCK", rcx=BLOCKED, rdx=world.tdr)


@raises(Status.TLB_TRACKING_NOT_DONE)
def _not_tracked() -> Result:
    world = World().finalize()
    world.ok("TDH.MEM.RANGE.BLOCK", rcx=MAPPED, rdx=world.tdr)
    return world.platform.seamcall("TDH.MEM.PAGE.REMOVE", rcx=MAPPED, rdx=world.tdr)


@raises(Status.EPT_INVALID_PROMOTE_CONDITIONS)
def _promote() -> Result:
    world = World()
    return world.platform.seamcall("TDH.MEM.PAGE.PROMOTE", rcx=EMPTY | 1, rdx=world.tdr)


@raises(Status.PAGE_ALREADY_ACCEPTED)
def _accepted() -> Result:
    return World().finalize().enter().platform.tdcall("TDG.MEM.PAGE.ACCEPT", rcx=MAPPED)


@raises(Status.PAGE_SIZE_MISMATCH)
def _size_mismatch() -> Result:
    return World().finalize().enter().platform.tdcall("TDG.MEM.PAGE.ACCEPT", rcx=EMPTY | 1)


@raises(Status.EPT_ENTRY_STATE_INCORRECT)
def _entry_state() -> Result:
    world = World()
    return world.platform.seamcall("TDH.MEM.PAGE.AUG", rcx=MAPPED, rdx=world.tdr, r8=world.page())


@raises(Status.EPT_PAGE_NOT_FREE)
def _not_free() -> Result:
    world = World()
    return world.platform.seamcall("TDH.MEM.SEPT.REMOVE", rcx=SPLIT_BLOCKED | 1, rdx=world.tdr)


@raises(Status.METADATA_FIELD_NOT_READABLE)
def _not_readable() -> Result:
    host, td = launched()
    return host.platform.seamcall("TDH.VP.RD", rcx=td.vcpus[0], rdx=0x1000000300000000)


@raises(Status.METADATA_FIELD_NOT_WRITABLE)
def _not_writable() -> Result:
    host, td = launched()
    return host.platform.seamcall("TDH.VP.WR", rcx=td.vcpus[0], rdx=0x1000000300000000)


@raises(Status.METADATA_FIELD_VALUE_NOT_VALID)
def _value_not_valid() -> Result:
    host, td = launched(TdParams(config_flags=3))
    assert host.platform.seamcall("TDH.VP.ENTER", rcx=td.vcpus[0]).running
    return host.platform.tdcall("TDG.VM.WR", rdx=0x1110000300000017, r8=2, r9=3)


@raises(Status.METADATA_FIELD_ID_INCORRECT)
def _field_id_incorrect() -> Result:
    return World().finalize().enter().platform.tdcall("TDG.VM.RD", rdx=0)


@raises(Status.INCORRECT_CPUID_VALUE)
def _narrow() -> Result:
    return Platform(PlatformConfig(max_pa=46)).seamcall("TDH.SYS.INIT")


@raises(Status.SYS_STATE_INCORRECT)
def _update_late() -> Result:
    return vmm().platform.seamcall("TDH.SYS.UPDATE")


@raises(Status.SYS_INVALID_HANDOFF)
def _nothing_handed_over() -> Result:
    platform = Platform()
    platform.seamcall("TDH.SYS.INIT")
    for lp in (0, 1):
        platform.seamcall("TDH.SYS.LP.INIT", lp)
    return platform.seamcall("TDH.SYS.UPDATE")


@raises(Status.INVALID_REPORTMACSTRUCT)
def _invalid_report() -> Result:
    return World().finalize().enter().platform.tdcall("TDG.MR.VERIFYREPORT", rcx=MAPPED + 0x100)


@raises(Status.INVALID_CPUSVN)
def _invalid_cpusvn() -> Result:
    world = World().finalize().enter()
    world.platform.store(MAPPED + 0x110, b"\1")
    return world.platform.tdcall("TDG.MR.VERIFYREPORT", rcx=MAPPED + 0x100)


@pytest.mark.parametrize("status", SCENARIOS, ids=lambda status: status.name)
def test_raised(status: Status) -> None:
    result = SCENARIOS[status]()
    assert result.decoded.status is status, result
    assert result.status & ~0xFFFFFFFF == status


def test_nothing_is_raised_without_a_test() -> None:
    used = set()
    for path in Path(labkit.tdx.__file__).parent.glob("*.py"):
        if path.name == "status.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "Status"
            ):
                used.add(Status[node.attr])
    assert used | {Status.SUCCESS} == set(SCENARIOS)


def test_each_has_a_meaning_of_its_own() -> None:
    texts = [meaning(status) for status in SCENARIOS]
    assert len(set(texts)) == len(texts)
    assert all(meaning(s) != s.name.lower().replace("_", " ") for s in SCENARIOS)


def test_pending_page_is_no_promotion() -> None:
    world = World()
    world.aug_large(LARGE_FREE)
    result = world.platform.seamcall("TDH.MEM.PAGE.PROMOTE", rcx=LARGE_FREE | 1, rdx=world.tdr)
    assert result.name == "EPT_ENTRY_STATE_INCORRECT"
    assert world.state_of(LARGE_BLOCKED, 1) == world.state_of(PENDING) + 1
