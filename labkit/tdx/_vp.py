"""VP.* leaves: making a vCPU, entering it, leaving it.

Check order after ``tdh_vp_*.c`` and ``td_transitions/`` of intel/tdx-module, branch ``tdx_1.5``.
"""

from __future__ import annotations

from collections.abc import Callable

from labkit.tdx._machine import Call, GuestExit, Machine, Refused
from labkit.tdx._metadata import VP_FIELDS, Accessor, find_field, next_field, readable_field, write_masked
from labkit.tdx._mng import own_page
from labkit.tdx.objects import MAX_TDVPS_PAGES, NO_LP, TDVPS_PAGES, Lp, Tdvps
from labkit.tdx.states import LifeCycle, PageType, VcpuState
from labkit.tdx.status import Operand, Status

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

# What the host is told after an external interrupt: valid, and the vector.
_INTERRUPT_VALID = 1 << 31
EXTERNAL_VECTOR = 0x20

# VP.ENTER's RCX: the vCPU's page, and two flags for exits that do not happen here.
_HOST_RECOVERABILITY = 1 << 52
_RESUME_L1 = 1 << 53
ENTER_FLAGS = _HOST_RECOVERABILITY | _RESUME_L1


def vp_create(m: Machine, call: Call) -> None:
    """VP.CREATE: a free page becomes a TDVPR."""
    pfn = m.page(call.rcx, Operand.RCX, PageType.NDA)
    own_page(m, call.tdr, pfn, PageType.TDVPR)
    m.vps[pfn] = Tdvps(pfn, call.tdr)


def vp_addcx(m: Machine, call: Call) -> None:
    """VP.ADDCX: another control page of the vCPU; nested VMs would use those beyond the sixth."""
    vp: Tdvps = call.vp
    if vp.state is not VcpuState.UNINITIALIZED:
        raise Refused(Status.VCPU_STATE_INCORRECT)
    if len(vp.pages) >= MAX_TDVPS_PAGES:
        raise Refused(Status.TDCX_NUM_INCORRECT)
    pfn = m.page(call.rcx, Operand.RCX, PageType.NDA)
    own_page(m, vp.tdr, pfn, PageType.TDCX)
    vp.pages.append(pfn)


def vp_init(m: Machine, call: Call) -> None:
    """VP.INIT: RDX goes to the guest in RCX and R8; the vCPU is bound to this processor."""
    vp: Tdvps = call.vp
    tdcs = call.tdcs
    _complete(vp)
    if vp.state is not VcpuState.UNINITIALIZED:
        raise Refused(Status.VCPU_STATE_INCORRECT)
    if tdcs.num_vcpus >= tdcs.params.max_vcpus:
        raise Refused(Status.MAX_VCPUS_EXCEEDED)
    vp.index = tdcs.num_vcpus
    tdcs.num_vcpus += 1
    tdcs.num_assoc_vcpus += 1
    vp.lp = call.lp.index
    vp.state = VcpuState.READY
    vp.last_exit_tsc = m.tsc
    signature = m.config.cpu_signature
    vp.gpr = {"rbx": tdcs.gpa_width, "rcx": call.rdx, "rdx": signature, "r8": call.rdx, "rsi": vp.index}


def _complete(vp: Tdvps) -> None:
    if len(vp.pages) < TDVPS_PAGES:
        raise Refused(Status.TDCX_NUM_INCORRECT)


def _associate(call: Call, disabled: bool = False) -> None:
    """Bind the vCPU to this processor, unless it is bound to another; what follows may still be refused.

    disabled: a vCPU that will never run again is fine too.
    """
    vp: Tdvps = call.vp
    if len(vp.pages) < TDVPS_PAGES:
        raise Refused(Status.TDCX_NUM_INCORRECT)
    if vp.state is not VcpuState.READY and not (disabled and vp.state is VcpuState.DISABLED):
        raise Refused(Status.VCPU_STATE_INCORRECT)
    if vp.lp == NO_LP:
        vp.lp = call.lp.index
        vp.tdr.tdcs.num_assoc_vcpus += 1
    elif vp.lp != call.lp.index:
        raise Refused(Status.VCPU_ASSOCIATED)


def vp_flush(_: Machine, call: Call) -> None:
    """VP.FLUSH: on the processor that the vCPU is bound to."""
    vp: Tdvps = call.vp
    if vp.tdr.lifecycle is not LifeCycle.KEYS_CONFIGURED:
        raise Refused(Status.TD_KEYS_NOT_CONFIGURED)
    _complete(vp)
    if vp.lp != call.lp.index:
        raise Refused(Status.VCPU_NOT_ASSOCIATED)
    vp.tlb.clear()
    vp.lp = NO_LP
    vp.tdr.tdcs.num_assoc_vcpus -= 1


def vp_enter(m: Machine, call: Call) -> None:
    """VP.ENTER: all checks, then the processor belongs to the guest until it exits.

    The vCPU is bound to this processor before the flags are looked at, and stays bound when they are refused.
    """
    vp: Tdvps = call.vp
    tdcs = call.tdcs
    _associate(call)
    if call.rcx & ENTER_FLAGS:
        # Both flags belong to exits that do not happen here: a trap of another TD, an exit of a nested VM.
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
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
    m.locks.share(vp.locks)


def leave(m: Machine, lp: Lp, state: VcpuState = VcpuState.READY) -> None:
    """TD exit: the vCPU gives the processor back and drops its hold on the epoch and its locks."""
    vp = lp.active
    assert vp is not None
    m.locks.unshare(vp.locks)
    vp.state = state
    vp.tdr.tdcs.refcount[vp.entered_epoch & 1] -= 1
    vp.last_exit_tsc = m.tsc
    lp.active = None


def ept_violation(gpa: int, access: int, kind: int = EEQ_NONE, info: int = 0) -> GuestExit:
    """The TD exit of a guest access that the Secure EPT does not allow.

    access: 1 a read, 2 a write, 3 both. kind and info say more where the module knows more.
    """
    return GuestExit(EXIT_EPT_VIOLATION, rcx=access, rdx=kind | info << 32, r8=gpa & ~0xFFF, r9=0)


def external_interrupt() -> GuestExit:
    """The TD exit of an interrupt for the host."""
    return GuestExit(EXIT_INTERRUPT, r9=_INTERRUPT_VALID | EXTERNAL_VECTOR)


def vp_rd(_: Machine, call: Call) -> None:
    """VP.RD: a general register, for the host of a debug TD; like VP.ENTER it binds the vCPU first."""
    _associate(call, disabled=True)
    reader = Accessor.DEBUGGER if call.tdcs.debug else Accessor.HOST
    field = readable_field(VP_FIELDS, call.rdx, reader)
    if call.version:
        call.out["rdx"] = next_field(field, reader)
    call.out["r8"] = call.vp.gpr.get(_register(call.rdx), 0)


def vp_wr(_: Machine, call: Call) -> None:
    """VP.WR: a general register, for the host of a debug TD; R9 masks the bits, R8 gives the old value."""
    call.out["r8"] = 0
    _associate(call)
    field = find_field(VP_FIELDS, call.rdx)
    writable = (1 << 64) - 1 if call.tdcs.debug and field.readers else 0
    name = _register(call.rdx)
    old = call.vp.gpr.get(name, 0)
    call.vp.gpr[name] = write_masked(old, call.r8, call.r9, writable)
    call.out["r8"] = old


def _register(identifier: int) -> str:
    return GPRS[identifier & 0xF]


HANDLERS: dict[str, Callable[[Machine, Call], None]] = {
    "TDH.VP.CREATE": vp_create,
    "TDH.VP.ADDCX": vp_addcx,
    "TDH.VP.INIT": vp_init,
    "TDH.VP.FLUSH": vp_flush,
    "TDH.VP.ENTER": vp_enter,
    "TDH.VP.RD": vp_rd,
    "TDH.VP.WR": vp_wr,
}
