"""VP.* leaves: making a vCPU, entering it, leaving it.

Check order after ``tdh_vp_*.c`` and ``td_transitions/`` of intel/tdx-module, branch ``tdx_1.5``.
"""

from __future__ import annotations

from collections.abc import Callable

from labkit.errors import NotModelled
from labkit.tdx._machine import Call, GuestExit, Machine, Refused
from labkit.tdx._mng import own_page
from labkit.tdx._objects import NO_LP, TDVPS_PAGES, Lp, Tdvps
from labkit.tdx._states import LifeCycle, PageType, VcpuState
from labkit.tdx._status import Operand, Status

# Exit reasons of the Intel SDM (volume 3, appendix C) that the model uses.
EXIT_EXCEPTION = 0
EXIT_INTERRUPT = 1
EXIT_TRIPLE_FAULT = 2
EXIT_EPT_VIOLATION = 48
EXIT_TDCALL = 77

# Extended exit qualification types (``vmx_ext_exit_qual_t``).
EEQ_NONE = 0
EEQ_ACCEPT = 1
EEQ_PENDING = 6

# Registers in the order of the TDVMCALL mask; RAX, RCX and RSP can never be selected.
GPRS = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip

# vCPU-scope metadata: class of the general registers (identifier = this + register number).
FIELD_GPR = 0x1000000300000000


def vp_create(m: Machine, call: Call) -> None:
    """VP.CREATE: a free page becomes a TDVPR."""
    pfn = m.page(call.rcx, Operand.RCX, PageType.NDA)
    own_page(m, call.tdr, pfn, PageType.TDVPR)
    m.vps[pfn] = Tdvps(pfn, call.tdr)


def vp_addcx(m: Machine, call: Call) -> None:
    """VP.ADDCX: another control page of the vCPU."""
    vp: Tdvps = call.vp
    if vp.state is not VcpuState.UNINITIALIZED:
        raise Refused(Status.VCPU_STATE_INCORRECT | vp.state)
    if len(vp.pages) >= TDVPS_PAGES:
        raise Refused(Status.TDCX_NUM_INCORRECT)
    pfn = m.page(call.rcx, Operand.RCX, PageType.NDA)
    own_page(m, vp.tdr, pfn, PageType.TDCX)
    vp.pages.append(pfn)


def vp_init(m: Machine, call: Call) -> None:
    """VP.INIT: RDX goes to the guest in RCX and R8; the vCPU is bound to this processor."""
    vp: Tdvps = call.vp
    tdcs = call.tdcs
    if len(vp.pages) < TDVPS_PAGES:
        raise Refused(Status.TDCX_NUM_INCORRECT)
    if vp.state is not VcpuState.UNINITIALIZED:
        raise Refused(Status.VCPU_STATE_INCORRECT | vp.state)
    if tdcs.num_vcpus >= tdcs.params.max_vcpus:
        raise Refused(Status.MAX_VCPUS_EXCEEDED)
    vp.index = tdcs.num_vcpus
    tdcs.num_vcpus += 1
    tdcs.num_assoc_vcpus += 1
    vp.lp = call.lp.index
    vp.state = VcpuState.READY
    vp.last_exit_tsc = m.tsc
    vp.gpr = {"rbx": tdcs.gpa_width, "rcx": call.rdx, "r8": call.rdx, "rsi": vp.index}


def vp_flush(_: Machine, call: Call) -> None:
    """VP.FLUSH: on the processor that the vCPU is bound to."""
    vp: Tdvps = call.vp
    if vp.tdr.lifecycle is not LifeCycle.KEYS_CONFIGURED:
        raise Refused(Status.TD_KEYS_NOT_CONFIGURED)
    if len(vp.pages) < TDVPS_PAGES:
        raise Refused(Status.TDCX_NUM_INCORRECT)
    if vp.lp != call.lp.index:
        raise Refused(Status.VCPU_NOT_ASSOCIATED)
    vp.tlb.clear()
    vp.lp = NO_LP
    vp.tdr.tdcs.num_assoc_vcpus -= 1


def vp_enter(m: Machine, call: Call) -> None:
    """VP.ENTER: all checks, then the processor belongs to the guest until it exits."""
    vp: Tdvps = call.vp
    tdcs = call.tdcs
    if len(vp.pages) < TDVPS_PAGES:
        raise Refused(Status.TDCX_NUM_INCORRECT)
    if vp.state is not VcpuState.READY:
        raise Refused(Status.VCPU_STATE_INCORRECT | vp.state)
    if vp.lp == NO_LP:
        vp.lp = call.lp.index
        tdcs.num_assoc_vcpus += 1
    elif vp.lp != call.lp.index:
        raise Refused(Status.VCPU_ASSOCIATED)
    if m.tsc < vp.last_exit_tsc:
        raise Refused(Status.TSC_ROLLBACK)
    m.busy(Operand.TD_EPOCH, "TD_EPOCH", vp.tdr.pfn << 12)
    tdcs.refcount[tdcs.epoch & 1] += 1
    vp.entered_epoch = tdcs.epoch
    if vp.epoch != tdcs.epoch:
        vp.tlb.clear()
        vp.epoch = tdcs.epoch
    if vp.vmcall is not None:
        for number, name in enumerate(GPRS):
            if vp.vmcall >> number & 1:
                vp.gpr[name] = call.regs.get(name, 0)
        vp.gpr.update(rax=0, rcx=vp.vmcall)
        vp.vmcall = None
    vp.state = VcpuState.ACTIVE
    call.lp.active = vp


def leave(m: Machine, lp: Lp, state: VcpuState = VcpuState.READY) -> None:
    """TD exit: the vCPU gives the processor back and drops its hold on the epoch."""
    vp = lp.active
    assert vp is not None
    vp.state = state
    vp.tdr.tdcs.refcount[vp.entered_epoch & 1] -= 1
    vp.last_exit_tsc = m.tsc
    lp.active = None


def ept_violation(gpa: int, write: bool, kind: int = EEQ_NONE) -> GuestExit:
    """The TD exit of a guest access that the Secure EPT does not allow."""
    return GuestExit(EXIT_EPT_VIOLATION, rcx=2 if write else 1, rdx=kind, r8=gpa & ~0xFFF, r9=0)


def vp_rd(_: Machine, call: Call) -> None:
    """VP.RD: general registers, for the host of a debug TD."""
    name = _gpr(call.rdx)
    if not call.tdcs.debug:
        raise Refused(Status.METADATA_FIELD_NOT_READABLE)
    call.out.update(rdx=call.rdx, r8=call.vp.gpr.get(name, 0))


def vp_wr(_: Machine, call: Call) -> None:
    """VP.WR: general registers, for the host of a debug TD; R9 masks the bits."""
    name = _gpr(call.rdx)
    if not call.tdcs.debug:
        raise Refused(Status.METADATA_FIELD_NOT_WRITABLE)
    old = call.vp.gpr.get(name, 0)
    call.vp.gpr[name] = old & ~call.r9 | call.r8 & call.r9
    call.out["r8"] = old


def _gpr(identifier: int) -> str:
    number = identifier - FIELD_GPR
    if not 0 <= number < len(GPRS):
        raise NotModelled(f"The metadata field {identifier:#x} is not modelled.", "See docs/tdx-model.md.")
    return GPRS[number]


HANDLERS: dict[str, Callable[[Machine, Call], None]] = {
    "TDH.VP.CREATE": vp_create,
    "TDH.VP.ADDCX": vp_addcx,
    "TDH.VP.INIT": vp_init,
    "TDH.VP.FLUSH": vp_flush,
    "TDH.VP.ENTER": vp_enter,
    "TDH.VP.RD": vp_rd,
    "TDH.VP.WR": vp_wr,
}
