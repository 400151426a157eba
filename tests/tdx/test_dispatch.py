"""The dispatcher, and the order of checks where a call has several faults at once."""

from __future__ import annotations

import pytest

from labkit.errors import NotModelled, UsageError
from labkit.tdx import MODELLED, Platform, TdParams
from labkit.tdx.force import force_op_state
from labkit.tdx.leaves import LEAVES, SEAMCALLS
from labkit.tdx.params import CPUID_CONFIG
from labkit.tdx.states import OpState
from labkit.tdx.status import Operand, Status, decode
from tests.tdx.worlds import FREE, MAPPED, NOT_THERE, World, launched, uninitialized, vmm

RAX_INVALID = int(Status.OPERAND_INVALID)


@pytest.mark.parametrize("rax", [1 << 24 | 33, 1 << 63 | 33, 1 << 16 | 33, 7 << 16 | 2, 46, 0xFFFF, 42])
def test_bad_rax(rax: int) -> None:
    assert vmm().platform.seamcall(rax).status == RAX_INVALID


@pytest.mark.parametrize("number", [3, 11, 23, 26, 30])
def test_versioned_leaves_take_a_version(number: int) -> None:
    assert vmm().platform.seamcall(1 << 16 | number).status != RAX_INVALID


@pytest.mark.parametrize("number", sorted(SEAMCALLS))
def test_before_ready(number: int) -> None:
    platform = Platform()
    early = {31, 32, 33, 34, 35, 37, 44, 45, 53}
    try:
        result = platform.seamcall(number)
    except NotModelled:
        assert number in early
        return
    if number == 42 or number not in early:
        assert result.name == "SYS_NOT_READY"
    else:
        assert result.name != "SYS_NOT_READY"


@pytest.mark.parametrize("number", sorted(SEAMCALLS))
def test_after_shutdown(number: int) -> None:
    platform = vmm().platform
    assert platform.seamcall("TDH.SYS.SHUTDOWN").ok
    assert platform.seamcall(number).name == ("SUCCESS" if number == 44 else "SYS_SHUTDOWN")


def test_lp_shutdown_does_nothing() -> None:
    host, td = launched()
    for lp in (0, 1):
        assert host.platform.seamcall("TDH.SYS.LP.SHUTDOWN", lp).ok
    assert host.platform.seamcall("TDH.VP.ENTER", rcx=td.vcpus[0]).running


def test_the_module_is_not_shut_down_under_a_running_td() -> None:
    host, td = launched()
    assert host.platform.seamcall("TDH.VP.ENTER", rcx=td.vcpus[0]).running
    assert host.platform.seamcall("TDH.SYS.SHUTDOWN", 1).name == "SYS_BUSY"
    host.platform.interrupt()
    assert host.platform.seamcall("TDH.SYS.SHUTDOWN", 1, rcx=1).status == Status.OPERAND_INVALID | 1
    assert host.platform.seamcall("TDH.SYS.SHUTDOWN", 1).ok


def test_reserved_bits_come_before_shutdown_and_version_before_readiness() -> None:
    platform = vmm().platform
    platform.seamcall("TDH.SYS.SHUTDOWN")
    assert platform.seamcall(1 << 30 | 2).status == RAX_INVALID
    assert Platform().seamcall(1 << 16 | 2).status == RAX_INVALID
    assert Platform().seamcall(46).name == "SYS_NOT_READY"


_ANSWERS_OF_THEIR_OWN = {"TDH.MEM.SEPT.WR", "TDH.EXPORT.UNBLOCKW", "TDH.SYS.UPDATE"}


@pytest.mark.parametrize("name", sorted(set(LEAVES) - MODELLED - _ANSWERS_OF_THEIR_OWN))
def test_left_out_leaves_say_so(name: str) -> None:
    world = World()
    leaf = LEAVES[name]
    if leaf.guest:
        world.finalize().enter()
        with pytest.raises(NotModelled, match=name):
            world.platform.tdcall(name, rcx=MAPPED)
        return
    if leaf.states:
        force_op_state(world.platform, world.tdr, min(leaf.states))
    handle = world.ready if leaf.handle == "V" else world.tdr
    with pytest.raises(NotModelled, match=name):
        world.platform.seamcall(name, **({leaf.register: handle} if leaf.handle else {}))


def test_unknown_names_are_usage_errors() -> None:
    platform = vmm().platform
    with pytest.raises(UsageError):
        platform.seamcall("TDH.NO.SUCH")
    with pytest.raises(UsageError):
        platform.seamcall("TDG.VP.INFO")
    with pytest.raises(UsageError):
        platform.tdcall("TDG.VP.INFO")


def test_a_processor_in_a_guest_makes_no_seamcall() -> None:
    world = World().finalize().enter()
    with pytest.raises(UsageError):
        world.platform.seamcall("TDH.MEM.TRACK", rcx=world.tdr)


# Several faults at once: the answer is the one whose check comes first.


def test_td_before_state_before_address_before_page() -> None:
    world = World().finalize()
    bad = {"rcx": 0xFFF, "r8": 1, "r9": 1}
    call = world.platform.seamcall
    assert call("TDH.MEM.PAGE.ADD", rdx=1, **bad).status == Status.OPERAND_INVALID | Operand.RDX
    assert call("TDH.MEM.PAGE.ADD", rdx=world.tdr, **bad).status == Status.OP_STATE_INCORRECT
    world = World()
    call = world.platform.seamcall
    assert call("TDH.MEM.PAGE.ADD", rdx=world.tdr, **bad).status == Status.OPERAND_INVALID | Operand.RCX
    bad["rcx"] = NOT_THERE
    assert call("TDH.MEM.PAGE.ADD", rdx=world.tdr, **bad).status == Status.EPT_WALK_FAILED | Operand.RCX
    bad["rcx"] = MAPPED
    assert call("TDH.MEM.PAGE.ADD", rdx=world.tdr, **bad).status == Status.EPT_ENTRY_STATE_INCORRECT | 1
    bad["rcx"] = FREE
    assert call("TDH.MEM.PAGE.ADD", rdx=world.tdr, **bad).status == Status.OPERAND_INVALID | Operand.R9
    bad["r9"] = 0x1000
    assert call("TDH.MEM.PAGE.ADD", rdx=world.tdr, **bad).status == Status.OPERAND_INVALID | Operand.R8
    bad["r8"] = 0x1000
    assert (
        call("TDH.MEM.PAGE.ADD", rdx=world.tdr, **bad).status == Status.OPERAND_ADDR_RANGE_ERROR | Operand.R8
    )
    bad["r8"] = world.tdr
    # The TD's own root is locked by this call already: found out before its type is.
    assert call("TDH.MEM.PAGE.ADD", rdx=world.tdr, **bad).status == Status.OPERAND_BUSY | Operand.R8
    bad["r8"] = world.ready
    assert call("TDH.MEM.PAGE.ADD", rdx=world.tdr, **bad).status == 0xC000030000000008


def test_td_check_order() -> None:
    host, td = uninitialized()
    platform = host.platform
    tdr = platform.tdrs[td.tdr >> 12]
    with platform.hold("OP_STATE", td.tdr):
        assert platform.seamcall("TDH.MEM.TRACK", rcx=td.tdr).status == Status.OPERAND_BUSY | Operand.OP_STATE
        saved, tdr.tdcx = tdr.tdcx, tdr.tdcx[:5]
        assert platform.seamcall("TDH.MEM.TRACK", rcx=td.tdr).name == "TDCS_NOT_ALLOCATED"
        host.call("TDH.MNG.VPFLUSHDONE", rcx=td.tdr)
        assert platform.seamcall("TDH.MEM.TRACK", rcx=td.tdr).name == "TD_KEYS_NOT_CONFIGURED"
        tdr.fatal = True
        assert platform.seamcall("TDH.MEM.TRACK", rcx=td.tdr).name == "TD_FATAL"
        tdr.tdcx = saved


def test_page_check_order() -> None:
    host, td = launched()
    platform = host.platform
    with platform.hold("PAGE", td.tdr >> 12):
        tdr = td.tdr | 1 << platform.hkid_shift
        assert platform.seamcall("TDH.MNG.CREATE", rcx=tdr, rdx=50).status == Status.OPERAND_INVALID | 1
        assert platform.seamcall("TDH.MNG.CREATE", rcx=td.tdr, rdx=50).status == Status.OPERAND_BUSY | 1
    assert (
        platform.seamcall("TDH.MNG.CREATE", rcx=td.tdr, rdx=50).status == Status.PAGE_METADATA_INCORRECT | 1
    )


def test_create_checks_keyid_first_and_its_state_last() -> None:
    host, td = launched()
    call = host.platform.seamcall
    assert call("TDH.MNG.CREATE", rcx=1, rdx=1).status == Status.OPERAND_INVALID | Operand.RDX
    assert call("TDH.MNG.CREATE", rcx=1, rdx=td.hkid).status == Status.OPERAND_INVALID | Operand.RCX
    with host.platform.hold("KOT"):
        assert (
            call("TDH.MNG.CREATE", rcx=host.page(), rdx=td.hkid).status == Status.OPERAND_BUSY | Operand.KOT
        )


def test_enter_checks_state_before_association_before_time() -> None:
    world = World().finalize().enter(0)
    call = world.platform.seamcall
    assert call("TDH.VP.ENTER", 1, rcx=world.ready).status == Status.VCPU_STATE_INCORRECT
    world.platform.interrupt(0)
    world.platform.tsc = -1
    assert call("TDH.VP.ENTER", 1, rcx=world.ready).name == "VCPU_ASSOCIATED"
    assert call("TDH.VP.ENTER", 0, rcx=world.ready).name == "TSC_ROLLBACK"
    world.platform.tsc = 0
    with world.platform.hold("TD_EPOCH", world.tdr):
        assert call("TDH.VP.ENTER", 0, rcx=world.ready).status == Status.OPERAND_BUSY | Operand.TD_EPOCH


@pytest.mark.parametrize(
    ("change", "operand"),
    [
        ({"attributes": 1 << 1}, Operand.ATTRIBUTES),
        ({"xfam": 0x1}, Operand.XFAM),
        ({"xfam": 0x3 | 1 << 3}, Operand.XFAM),
        ({"max_vcpus": 0}, Operand.MAX_VCPUS),
        ({"num_l2_vms": 4}, Operand.NUM_L2_VMS),
        ({"config_flags": 8}, Operand.EXEC_CONTROLS),
        ({"eptp_controls": 6 | 3 << 3}, Operand.EPTP_CONTROLS),
        ({"eptp_controls": 4 << 3}, Operand.EPTP_CONTROLS),
        ({"tsc_frequency": 3}, Operand.TSC_FREQUENCY),
    ],
)
def test_params_in_order(change: dict[str, object], operand: Operand) -> None:
    host, td = uninitialized()
    host.platform.write(host._staging, TdParams(**change).pack())  # type: ignore[arg-type]
    result = host.platform.seamcall("TDH.MNG.INIT", rcx=td.tdr, rdx=host._staging)
    assert result.status == Status.OPERAND_INVALID | operand
    # With a later fault added the earlier one still wins; attributes win over everything.
    words = {**change, "tsc_frequency": 1}
    host.platform.write(host._staging, TdParams(**words).pack())  # type: ignore[arg-type]
    result = host.platform.seamcall("TDH.MNG.INIT", rcx=td.tdr, rdx=host._staging)
    assert result.status == Status.OPERAND_INVALID | operand
    words = {**words, "attributes": 2}
    host.platform.write(host._staging, TdParams(**words).pack())  # type: ignore[arg-type]
    result = host.platform.seamcall("TDH.MNG.INIT", rcx=td.tdr, rdx=host._staging)
    assert result.status == Status.OPERAND_INVALID | Operand.ATTRIBUTES


def test_params_that_ask_for_what_is_left_out() -> None:
    host, td = uninitialized()
    host.platform.write(host._staging, TdParams(num_l2_vms=1).pack())
    result = host.platform.seamcall("TDH.MNG.INIT", rcx=td.tdr, rdx=host._staging)
    assert result.name == "TDCS_NOT_ALLOCATED"
    host.call("TDH.MNG.ADDCX", rcx=host.page(), rdx=td.tdr)
    with pytest.raises(NotModelled):
        host.platform.seamcall("TDH.MNG.INIT", rcx=td.tdr, rdx=host._staging)
    assert host.platform.tdrs[td.tdr >> 12].tdcs.op_state is OpState.UNINITIALIZED


def test_a_lock_is_held_once_or_shared() -> None:
    platform = vmm().platform
    with platform.hold("KOT", shared=True):
        with platform.hold("KOT", shared=True):
            pass
        with pytest.raises(UsageError, match="is held already"), platform.hold("KOT"):
            pass
    with platform.hold("KOT"):
        for shared in (False, True):
            with pytest.raises(UsageError, match="is held already"), platform.hold("KOT", shared=shared):
                pass
    with platform.hold("KOT"):
        pass


@pytest.mark.parametrize("byte", [0, 3, 4, 15, 64])
def test_a_processor_is_named_by_four_bytes_and_the_others_ask_for_virtual_leaves(byte: int) -> None:
    host, td = uninitialized()
    data = bytearray(TdParams().pack())
    data[CPUID_CONFIG.start + byte] ^= 0x80
    host.platform.write(host._staging, bytes(data))
    if byte < 4:
        result = host.platform.seamcall("TDH.MNG.INIT", rcx=td.tdr, rdx=host._staging)
        assert result.status == Status.OPERAND_INVALID | Operand.CPUID_CONFIG
    else:
        with pytest.raises(NotModelled):
            host.platform.seamcall("TDH.MNG.INIT", rcx=td.tdr, rdx=host._staging)


def test_decode_takes_answers_apart() -> None:
    assert str(decode(0xC000030000000008)) == "0xc000030000000008 PAGE_METADATA_INCORRECT | R8"
    assert decode(Status.PAGE_ALREADY_ACCEPTED | 1).operand == "level 1"
    # Which TDMR, and not which operand.
    assert decode(Status.INVALID_TDMR | 8).operand == decode(Status.CMR_LIST_INVALID | 8).operand == ""
    assert decode(48).name == "SUCCESS"
    assert decode(48).operand == ""
    assert decode(0x1234 << 32).status is None
    assert decode(0x1234 << 32).name == "UNKNOWN"
    assert not decode(Status.KEY_CONFIGURED).error


@pytest.mark.parametrize("keyid", [0, 1])
def test_host_memory_inside_seamrr_is_refused_under_every_keyid(keyid: int) -> None:
    host, td = uninitialized()
    base, size = host.platform.config.seamrr
    for address in (base, base + size - 0x1000):
        at = address | keyid << host.platform.hkid_shift
        result = host.platform.seamcall("TDH.MNG.INIT", rcx=td.tdr, rdx=at)
        assert result.status == Status.OPERAND_INVALID | Operand.RDX
        with pytest.raises(UsageError, match="SEAMRR"):
            host.platform.read(at, 1)
