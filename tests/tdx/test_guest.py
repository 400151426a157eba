"""Guests: faults, exits, TDCALLs, TDVMCALLs, reports."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import ModuleRefused, UsageError
from labkit.tdx import (
    GuestException,
    Load,
    ModelReport,
    Platform,
    Program,
    Store,
    Tdcall,
    TdExit,
    TdParams,
    Vmcall,
    Vmm,
    accept,
    vmcall,
    vmm,
)
from labkit.tdx.ghci import VmcallStatus, extend, report
from labkit.tdx.params import GIB, Tdmr
from labkit.tdx.status import Status, decode
from tests.tdx.worlds import MAPPED, PENDING, World, launched, physical

PAGE = 0x1000


def _enter(attributes: int = 0) -> World:
    return World(attributes).finalize().enter()


def test_pending_page_is_ve_or_exit_by_attribute() -> None:
    world = _enter(0)
    with pytest.raises(GuestException, match="#VE"):
        world.platform.load(PENDING, 1)
    info = world.platform.tdcall("TDG.VP.VEINFO.GET")
    assert (info["rcx"], info["r9"]) == (48, PENDING)
    assert world.platform.tdcall("TDG.MEM.PAGE.ACCEPT", rcx=PENDING).ok
    assert world.platform.load(PENDING, 4) == bytes(4)
    world = _enter(1 << 28)
    with pytest.raises(TdExit) as exit_:
        world.platform.load(PENDING, 1)
    assert (exit_.value.result.status, exit_.value.result["rdx"]) == (48, 6)


def test_second_ve_before_the_first_was_read_is_a_double_fault() -> None:
    world = _enter(0)
    with pytest.raises(GuestException, match="#VE"):
        world.platform.load(PENDING, 1)
    for _ in range(2):
        with pytest.raises(GuestException, match="#DF"):
            world.platform.load(PENDING, 1)
    # The vCPU lives on; what it does about a #DF is its own affair.
    assert world.platform.load(MAPPED, 6) == b"mapped"
    assert world.platform.tdcall("TDG.VP.VEINFO.GET")["r9"] == PENDING
    with pytest.raises(GuestException, match="#VE"):
        world.platform.load(PENDING, 1)
    world.platform.triple_fault()
    result = world.platform.seamcall("TDH.VP.ENTER", rcx=world.ready)
    assert result.status == Status.VCPU_STATE_INCORRECT


def test_absent_pages_and_wide_addresses() -> None:
    world = _enter()
    with pytest.raises(GuestException, match="#PF"):
        world.platform.load(1 << 52, 1)
    with pytest.raises(TdExit) as exit_:
        world.platform.store(0x7000_0000, b"x")
    assert exit_.value.result.regs == {"rcx": 2, "rdx": 0, "r8": 0x7000_0000, "r9": 0}
    world.platform.seamcall("TDH.VP.ENTER", rcx=world.ready)
    with pytest.raises(TdExit) as exit_:
        world.platform.tdcall("TDG.MEM.PAGE.ACCEPT", rcx=0x7000_0000)
    # Kind: an ACCEPT; level 0 was asked for, the walk ended at a free entry of level 2.
    assert exit_.value.result["rdx"] == 1 | 2 << 3 + 32


@pytest.mark.parametrize(
    ("params", "width"), [(TdParams(), 52), (TdParams(config_flags=0, eptp_controls=6 | 3 << 3), 48)]
)
def test_width_and_shared_bit(params: TdParams, width: int) -> None:
    host, td = launched(params)
    host.platform.seamcall("TDH.VP.ENTER", rcx=td.vcpus[0])
    info = host.platform.tdcall("TDG.VP.INFO")
    assert info["rcx"] == width
    assert info["r8"] == 2 | 4 << 32
    assert td.shared_bit == 1 << width - 1
    shared = td.shared_bit | 0x9000
    with pytest.raises(TdExit):
        host.platform.load(shared, 1)
    address = host.share(td, shared)
    host.platform.write(address, b"from the host")
    host.platform.seamcall("TDH.VP.ENTER", rcx=td.vcpus[0])
    assert host.platform.load(shared, 13) == b"from the host"
    host.platform.store(shared, b"from the guest")
    assert host.platform.read(address, 14) == b"from the guest"
    result = host.platform.tdcall("TDG.MR.RTMR.EXTEND", rcx=shared)
    assert result.status == Status.OPERAND_INVALID | 1


def test_shared_mapping_of_private_memory_shows_nothing() -> None:
    host, td = launched()
    page = physical(host, td, 0x1000)
    host.shared(td)[0x50] = page
    host.shared(td)[0x51] = page | td.hkid << host.platform.hkid_shift
    host.platform.seamcall("TDH.VP.ENTER", rcx=td.vcpus[0])
    assert host.platform.load(td.shared_bit | 0x50000, 4) == bytes(4)
    with pytest.raises(TdExit):
        host.platform.load(td.shared_bit | 0x51000, 4)


def test_poison_that_the_module_reads_for_a_guest_stops_the_platform() -> None:
    host, td = launched()
    page = physical(host, td, 0x1000)
    host.platform.seamcall("TDH.VP.ENTER", rcx=td.vcpus[0])
    host.platform.write(page, b"HOST WAS HERE")
    with pytest.raises(TdExit):
        host.platform.tdcall("TDG.MR.RTMR.EXTEND", rcx=0x1000, rdx=2)
    assert "machine check inside SEAM" in str(host.platform.dead)


def test_poison_that_the_module_reads_to_measure_a_page_stops_the_platform() -> None:
    world = World(0)
    entry = world.ok("TDH.MEM.SEPT.RD", rcx=MAPPED, rdx=world.tdr)["rcx"]
    world.platform.write(entry & world.platform.pa_mask & ~0xFFF, b"HOST WAS HERE")
    world.platform.seamcall("TDH.MR.EXTEND", rcx=MAPPED, rdx=world.tdr)
    assert "machine check inside SEAM" in str(world.platform.dead)


def test_stale_translation_serves_until_the_exit() -> None:
    world = _enter()
    assert world.platform.load(MAPPED, 6) == b"mapped"
    world.ok("TDH.MEM.RANGE.BLOCK", 1, rcx=MAPPED, rdx=world.tdr)
    assert world.platform.load(MAPPED, 6) == b"mapped"
    world.ok("TDH.MEM.TRACK", 1, rcx=world.tdr)
    remove = {"rcx": MAPPED, "rdx": world.tdr}
    assert world.platform.seamcall("TDH.MEM.PAGE.REMOVE", 1, **remove).name == "TLB_TRACKING_NOT_DONE"
    world.platform.interrupt()
    assert world.platform.seamcall("TDH.MEM.PAGE.REMOVE", 1, **remove).ok
    world.platform.seamcall("TDH.VP.ENTER", rcx=world.ready)
    with pytest.raises(TdExit):
        world.platform.load(MAPPED, 6)


def test_unblock_and_relocate_keep_the_content() -> None:
    host, td = launched()
    host.call("TDH.MEM.RANGE.BLOCK", rcx=0x1000, rdx=td.tdr)
    host.call("TDH.MEM.TRACK", rcx=td.tdr)
    old = host.call("TDH.MEM.PAGE.RELOCATE", rcx=0x1000, rdx=td.tdr, r8=host.page())["rcx"]
    assert host.platform.seamcall("TDH.PHYMEM.PAGE.RDMD", rcx=old)["rcx"] == 0
    host.call("TDH.MEM.RANGE.BLOCK", rcx=0x1000, rdx=td.tdr)
    host.call("TDH.MEM.TRACK", rcx=td.tdr)
    host.call("TDH.MEM.RANGE.UNBLOCK", rcx=0x1000, rdx=td.tdr)
    host.platform.seamcall("TDH.VP.ENTER", rcx=td.vcpus[0])
    assert host.platform.load(0x1000, 4) == b"code"


def test_large_pages_split_and_merge() -> None:
    world = World(0)
    gpa = 8 * 0x200000
    world.aug_large(gpa)
    world.finalize().enter()
    with pytest.raises(TdExit):
        world.platform.tdcall("TDG.MEM.PAGE.ACCEPT", rcx=gpa)
    world.enter()
    assert world.platform.tdcall("TDG.MEM.PAGE.ACCEPT", rcx=gpa | 1).ok
    world.platform.store(gpa + 0x5008, b"in the middle")
    world.platform.interrupt()
    for leaf, regs in (
        ("TDH.MEM.PAGE.DEMOTE", {"r8": world.page()}),
        ("TDH.MEM.PAGE.PROMOTE", {}),
    ):
        world.ok("TDH.MEM.RANGE.BLOCK", rcx=gpa | 1, rdx=world.tdr)
        world.ok("TDH.MEM.TRACK", rcx=world.tdr)
        world.ok(leaf, rcx=gpa | 1, rdx=world.tdr, **regs)
        world.platform.seamcall("TDH.VP.ENTER", rcx=world.ready)
        assert world.platform.load(gpa + 0x5008, 13) == b"in the middle"
        world.platform.interrupt()


def _two_gib() -> Tdmr:
    """One TDMR of 2 GiB, of which the VMM itself uses the first."""
    base, size, at = 5 * GIB, 2 * GIB, 4 * GIB + GIB // 2
    places = []
    for unit in (GIB, 0x200000, 0x1000):
        places.append((at, -(-size // unit * 16 // 0x1000) * 0x1000))
        at += places[-1][1]
    large, middle, small = places
    return Tdmr(base, size, large, middle, small)


@pytest.mark.parametrize(
    ("first", "last", "status"),
    [
        (6 * GIB, 7 * GIB - 0x200000, Status.SUCCESS),
        (6 * GIB, 5 * GIB + GIB // 2, Status.EPT_INVALID_PROMOTE_CONDITIONS),
        (5 * GIB + GIB // 2, 6 * GIB + GIB // 2 - 0x200000, Status.EPT_INVALID_PROMOTE_CONDITIONS),
    ],
    ids=["in a row", "the last one elsewhere", "not aligned"],
)
def test_512_large_pages_in_a_row_merge_into_one_of_1_gib(
    monkeypatch: pytest.MonkeyPatch, first: int, last: int, status: Status
) -> None:
    monkeypatch.setattr(vmm, "default_tdmr", _two_gib)
    host = vmm.Vmm(Platform()).start()
    while host.call("TDH.SYS.TDMR.INIT", rcx=5 * GIB)["rdx"] < 7 * GIB:
        pass
    td = host.create(TdParams())
    pages = [*range(first, first + GIB - 0x200000, 0x200000), last]
    for number, page in enumerate(pages):
        gpa = GIB + number * 0x200000
        host.tables(td, gpa, 1)
        host.call("TDH.MEM.PAGE.AUG", rcx=gpa | 1, rdx=td.tdr, r8=page)
    host.call("TDH.MEM.RANGE.BLOCK", rcx=GIB | 2, rdx=td.tdr)
    host.call("TDH.MEM.TRACK", rcx=td.tdr)
    result = host.platform.seamcall("TDH.MEM.PAGE.PROMOTE", rcx=GIB | 2, rdx=td.tdr)
    assert decode(result.status).status is status
    if result.ok:
        entry = host.call("TDH.MEM.SEPT.RD", rcx=GIB | 2, rdx=td.tdr)
        assert entry["rcx"] & (1 << 52) - (1 << 30) == first
        assert entry["rdx"] & 0xFF == 2
        assert host.call("TDH.PHYMEM.PAGE.RDMD", rcx=last)["r8"] == 2, "the page is one of 1 GiB"


def test_an_interrupt_in_the_middle_of_a_large_accept_is_one_exit_and_the_accept_runs_again() -> None:
    world = World(0)
    gpa = 8 * 0x200000
    world.aug_large(gpa)
    world.finalize().enter()
    world.platform.lps[0].interrupt = True
    with pytest.raises(TdExit) as exit_:
        world.platform.tdcall("TDG.MEM.PAGE.ACCEPT", rcx=gpa | 1)
    assert exit_.value.result.status == 1  # an external interrupt
    world.enter()
    assert world.platform.tdcall("TDG.MEM.PAGE.ACCEPT", rcx=gpa | 1).ok


def test_vmcall_hides_what_was_not_selected() -> None:
    world = _enter()
    with pytest.raises(TdExit) as exit_:
        world.platform.tdcall("TDG.VP.VMCALL", rcx=1 << 10 | 1 << 11, r10=0, r11=12, r12=0x5EC4E7)
    result = exit_.value.result
    assert (result.status, result["r11"], result["r12"]) == (77, 12, 0)
    assert world.platform.seamcall("TDH.VP.ENTER", rcx=world.ready, r10=5, r11=6, r12=7).running
    registers = world.platform.registers()
    assert (registers["r10"], registers["r11"], registers.get("r12", 0)) == (5, 6, 0)


@pytest.mark.parametrize("mask", [1, 2, 1 << 4, 1 << 32])
def test_vmcall_refuses_masks(mask: int) -> None:
    assert _enter().platform.tdcall("TDG.VP.VMCALL", rcx=mask).status == Status.OPERAND_INVALID | 1


def test_vmcall_without_rbp() -> None:
    host, td = launched(TdParams(config_flags=1 | 4))
    host.platform.seamcall("TDH.VP.ENTER", rcx=td.vcpus[0])
    assert host.platform.tdcall("TDG.VP.VMCALL", rcx=1 << 5).name == "OPERAND_INVALID"


def test_flexible_pending_ve() -> None:
    host, td = launched(TdParams(config_flags=3))
    assert host.platform.seamcall("TDH.VP.ENTER", rcx=td.vcpus[0]).running
    field = 0x1110000300000017
    assert host.platform.tdcall("TDG.VM.RD", rdx=field)["r8"] == 1
    assert host.platform.tdcall("TDG.VM.WR", rdx=field, r8=0, r9=1)["r8"] == 1
    assert host.platform.tdcall("TDG.VM.RD", rdx=field)["r8"] == 0
    host, td = launched()
    host.platform.seamcall("TDH.VP.ENTER", rcx=td.vcpus[0])
    write = host.platform.tdcall
    assert write("TDG.VM.WR", rdx=field, r8=0, r9=1).name == "METADATA_FIELD_VALUE_NOT_VALID"
    assert write("TDG.VM.WR", rdx=field, r8=1, r9=1).ok
    assert write("TDG.VM.WR", rdx=field, r8=0, r9=2).name == "METADATA_FIELD_NOT_WRITABLE"
    assert write("TDG.VM.WR", rdx=field, r8=3, r9=3).name == "METADATA_FIELD_VALUE_NOT_VALID"
    assert write("TDG.VM.WR", rdx=field - 1, r8=0, r9=1).name == "METADATA_FIELD_NOT_WRITABLE"
    for leaf in ("TDG.VM.RD", "TDG.VM.WR"):
        assert write(leaf, rcx=1, rdx=field).status == Status.OPERAND_INVALID | 1


def done(call: int, **registers: int) -> Generator[Any, Any, dict[str, int]]:
    """A call that the VMM says it has carried out."""
    answer = yield from vmcall(call, **registers)
    assert answer["r10"] == 0
    return answer


def _every_call(td_shared: int, seen: dict[str, object]) -> Program:
    for byte in b"hello":
        yield from done(Vmcall.IO, r12=1, r13=1, r14=0x3F8, r15=byte)
    seen["in"] = (yield from done(Vmcall.IO, r12=1, r13=0, r14=0x60))["r11"]
    seen["cpuid"] = (yield from done(Vmcall.CPUID, r12=7, r13=0))["r13"]
    yield from done(Vmcall.WRMSR, r12=0x10, r13=99)
    seen["msr"] = (yield from done(Vmcall.RDMSR, r12=0x10))["r11"]
    seen["no msr"] = (yield from vmcall(Vmcall.RDMSR, r12=0x11))["r10"]
    yield from done(Vmcall.MMIO, r12=4, r13=1, r14=td_shared | 0xF000, r15=5)
    seen["mmio"] = (yield from done(Vmcall.MMIO, r12=4, r13=0, r14=td_shared | 0xF000))["r11"]
    seen["info"] = (yield from vmcall(Vmcall.GET_TD_VM_CALL_INFO))["r10"]
    seen["unknown"] = (yield from vmcall(0x7777))["r10"]
    seen["unaligned"] = (yield from vmcall(Vmcall.MAP_GPA, r12=1, r13=PAGE))["r10"]
    yield Store(0x2000, b"private before")
    yield from done(Vmcall.MAP_GPA, r12=td_shared | 0x2000, r13=PAGE)
    yield Store(td_shared | 0x2000, b"now shared")
    yield from done(Vmcall.MAP_GPA, r12=0x2000, r13=PAGE)
    seen["accept"] = (yield from accept(0x2000)).name
    seen["after"] = yield Load(0x2000, 8)
    yield from vmcall(Vmcall.REPORT_FATAL_ERROR)
    yield from vmcall(Vmcall.HLT)


def test_the_vmm_answers_every_call() -> None:
    host, td = launched()
    host.cpuid[7, 0] = (1, 2, 3, 4)
    seen: dict[str, object] = {}
    result = host.run(td, _every_call(td.shared_bit, seen))
    assert result["r11"] == Vmcall.HLT
    assert bytes(host.console) == b"hello"
    invalid = VmcallStatus.INVALID_OPERAND
    assert seen == {
        "in": 0xFF,
        "cpuid": 2,
        "msr": 99,
        "no msr": invalid,
        "mmio": 5,
        "info": 0,
        "unknown": invalid,
        "unaligned": VmcallStatus.ALIGN_ERROR,
        "accept": "SUCCESS",
        "after": bytes(8),
    }


def test_functions_and_answers_have_the_numbers_of_the_guest_host_interface() -> None:
    """Those of instructions are VMX exit reasons; the others are in the GHCI specification."""
    assert {call.name: call.value for call in Vmcall} == {
        "CPUID": 10,
        "HLT": 12,
        "IO": 30,
        "RDMSR": 31,
        "WRMSR": 32,
        "MMIO": 48,
        "WBINVD": 54,
        "PCONFIG": 65,
        "GET_TD_VM_CALL_INFO": 0x10000,
        "MAP_GPA": 0x10001,
        "GET_QUOTE": 0x10002,
        "REPORT_FATAL_ERROR": 0x10003,
        "SETUP_EVENT_NOTIFY_INTERRUPT": 0x10004,
    }
    assert [answer.value for answer in VmcallStatus] == [0, 1, 1 << 63, 1 << 63 | 1, 1 << 63 | 2]


def _quote(shared: int, seen: list[bytes]) -> Program:
    data = yield from report(0x2000, b"nonce")
    yield from vmcall(Vmcall.MAP_GPA, r12=shared | 0x3000, r13=PAGE)
    head = (1).to_bytes(8, "little") + bytes(8) + (1024).to_bytes(4, "little") + bytes(4)
    yield Store(shared | 0x3000, head + data)
    yield from vmcall(Vmcall.GET_QUOTE, r12=shared | 0x3000, r13=PAGE)
    seen.append((yield Load(shared | 0x3000, 40)))


def test_get_quote_goes_to_the_service_or_says_that_there_is_none() -> None:
    host, td = launched()
    seen: list[bytes] = []
    host.run(td, _quote(td.shared_bit, seen))
    assert int.from_bytes(seen[0][8:16], "little") == 0x8000000000000001
    host, td = launched()
    host.quote_service = lambda data: b"quote of " + data[128:133]
    host.run(td, _quote(td.shared_bit, seen))
    assert seen[1][8:16] == bytes(8)
    assert seen[1][24:38] == b"quote of nonce"


def _reports(out: list[bytes]) -> Program:
    yield from extend(0x2000, 2, hashlib.sha384(b"event").digest())
    out.append((yield from report(0x2000, b"report data")))
    verify = yield Tdcall("TDG.MR.VERIFYREPORT", {"rcx": 0x2000})
    assert verify.ok
    yield Store(0x2000 + 130, b"!")
    verify = yield Tdcall("TDG.MR.VERIFYREPORT", {"rcx": 0x2000})
    assert verify.name == "INVALID_REPORTMACSTRUCT"


def _made_report() -> tuple[Vmm, ModelReport, bytes]:
    host, td = launched()
    out: list[bytes] = []
    host.run(td, _reports(out))
    return host, ModelReport(out[0]), host.mrtd(td)


def test_report_fields() -> None:
    _, made, mrtd = _made_report()
    assert made.mrtd == mrtd
    extended = hashlib.sha384(bytes(48) + hashlib.sha384(b"event").digest()).digest()
    assert made.rtmr == (bytes(48), bytes(48), extended, bytes(48))
    assert made.report_data == b"report data".ljust(64, b"\0")
    assert made.attributes == 1 << 28
    assert "EMULATED" in repr(made)
    assert "EMULATED" in str(made)
    assert made.to_dict()["trust"] == "none"


def _structure(data: bytes) -> None:
    """What holds for every TDREPORT: sizes, type, the two inner hashes."""
    assert len(data) == 1024
    assert data[0] == 0x81
    assert data[32:80] == hashlib.sha384(data[256:495]).digest()
    assert data[80:128] == hashlib.sha384(data[512:1024]).digest()


@pytest.mark.data
def test_report_has_the_structure_of_a_real_one(shared_data: Path) -> None:
    real = (shared_data / "vectors/baremetal-live/tdreport.bin").read_bytes()
    _structure(real)
    _, made, _ = _made_report()
    _structure(made.data)
    # Reserved fields that are zero in the real one are zero in the model's.
    for start, end in ((1, 16), (192, 224), (495, 512), (912, 1024)):
        assert not any(real[start:end])
        assert not any(made.data[start:end])
    mrtd = "eea8b6a814569a52bd1e12f6b869bb2d9c0c8a7a43e658ffc3b42c199f116157ea7f04d359c7fdfd8ac483152cc13542"
    assert ModelReport(real).mrtd.hex() == mrtd


def test_report_files_say_that_they_are_emulated(tmp_path: Path) -> None:
    _, made, _ = _made_report()
    with pytest.raises(UsageError):
        made.save(tmp_path / "report.bin")
    assert made.save(tmp_path / "a.emulated-tdreport").read_bytes() == made.data


def test_report_operands() -> None:
    platform = _enter().platform
    for regs, operand in (
        ({"rcx": 8}, 1),
        ({"rcx": MAPPED, "rdx": 8}, 2),
        ({"rcx": MAPPED, "rdx": MAPPED, "r8": 1}, 8),
    ):
        assert platform.tdcall("TDG.MR.REPORT", **regs).status == Status.OPERAND_INVALID | operand
    assert platform.tdcall("TDG.MR.RTMR.EXTEND", rcx=8).status == Status.OPERAND_INVALID | 1
    assert platform.tdcall("TDG.MR.RTMR.EXTEND", rcx=MAPPED, rdx=4).status == Status.OPERAND_INVALID | 2


def _careless() -> Program:
    yield Load(1 << 52, 1)


def test_unhandled_exception_is_a_triple_fault() -> None:
    host, td = launched()
    exit_ = host.run(td, _careless())
    # Exit reason 2 of the Intel SDM, volume 3, appendix C.
    assert (exit_.name, exit_.status & 0xFFFFFFFF) == ("NON_RECOVERABLE_VCPU", 2)


def test_the_vmm_says_what_was_refused() -> None:
    host = Vmm(Platform())
    with pytest.raises(ModuleRefused, match="SYS_NOT_READY"):
        host.create(hkid=40)
