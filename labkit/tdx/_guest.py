"""The guest's side: its loads and stores through the Secure EPT, and the TDCALL leaves.

After ``src/td_dispatcher/vm_exits/`` of intel/tdx-module, branch ``tdx_1.5``. Guests run without paging of
their own: a guest linear address equals the guest physical address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from labkit.tdx import _params
from labkit.tdx._machine import Call, GuestExit, GuestFault, Machine, Refused, SeamMachineCheck, not_modelled
from labkit.tdx._mng import FIELD_TD_CTLS, TD_CTLS_PENDING_VE_DISABLE, read_td_field
from labkit.tdx._objects import Tdvps, VeInfo
from labkit.tdx._phys import Key
from labkit.tdx._report import REPORT_SIZE, mac_ok, make_report
from labkit.tdx._sept import entry_page, entry_state, make_entry
from labkit.tdx._states import SEPT_ALLOWED, TRAITS, Septe
from labkit.tdx._status import Operand, Status
from labkit.tdx._sys import read_field
from labkit.tdx._vp import EEQ_ACCEPT, EEQ_PENDING, EXIT_EPT_VIOLATION, EXIT_EXCEPTION, EXIT_TDCALL, GPRS
from labkit.tdx._vp import ept_violation as _ept_violation

_MACHINE_CHECK = 0x80000312
_MASK_NEVER = 1 << 0 | 1 << 1 | 1 << 4


def translate(m: Machine, vp: Tdvps, gpa: int, write: bool) -> tuple[int, Key]:
    """Physical address and key of a guest access.

    Raises:
        GuestFault: #PF for an address beyond the width, #VE for a page that waits to be accepted.
        GuestExit: everything else that is not mapped.
    """
    tdcs = vp.tdr.tdcs
    width = tdcs.gpa_width
    if gpa >> width:
        raise GuestFault("#PF", gpa)
    if gpa >> width - 1:
        return _translate_shared(m, vp, gpa, write)
    assert vp.tdr.key is not None
    hit = vp.tlb.get(gpa >> 12)
    if hit is not None and (hit[1] or not write):
        return hit[0] << 12 | gpa & 0xFFF, vp.tdr.key
    page, index, level = tdcs.sept.walk(gpa, 0)
    if m.tainted:
        m.intact(page.pfn)
    entry = page.entries[index]
    traits = TRAITS[entry_state(entry)]
    if traits.writable or (traits.readable and not write):
        first = entry_page(entry) & m.pa_mask >> 12
        pfn = first + (gpa >> 12 & (1 << 9 * level) - 1)
        vp.tlb[gpa >> 12] = pfn, traits.writable
        return pfn << 12 | gpa & 0xFFF, vp.tdr.key
    if traits.acceptable and not tdcs.pending_ve_disable:
        raise_ve(vp, gpa, write)
    raise _ept_violation(gpa, write, EEQ_PENDING if traits.acceptable else 0)


def _translate_shared(m: Machine, vp: Tdvps, gpa: int, write: bool) -> tuple[int, Key]:
    tdcs = vp.tdr.tdcs
    target = tdcs.shared_ept.get((gpa & (1 << tdcs.gpa_width - 1) - 1) >> 12)
    if target is None:
        raise _ept_violation(gpa, write)
    keyid = target >> m.hkid_shift
    if m.is_private(keyid):
        # A private KeyID in the shared tables is reserved bits there: EPT misconfiguration in the host.
        raise _ept_violation(gpa, write)
    return target & m.pa_mask | gpa & 0xFFF, m.shared_key(keyid)


def raise_ve(vp: Tdvps, gpa: int, write: bool) -> None:
    """Give the guest a #VE for an EPT violation; a second one before the first was read is fatal to it.

    Raises:
        GuestFault: always.
    """
    if vp.ve_info is not None:
        raise GuestFault("#DF", gpa)
    vp.ve_info = VeInfo(EXIT_EPT_VIOLATION, 2 if write else 1, gpa, gpa)
    raise GuestFault("#VE", gpa)


def load(m: Machine, vp: Tdvps, gpa: int, size: int) -> bytes:
    """A guest load; poison in it ends the TD."""
    parts = []
    while size:
        chunk = min(size, 0x1000 - (gpa & 0xFFF))
        address, key = translate(m, vp, gpa, write=False)
        read = m.memory.read(address, chunk, key)
        if read.poison:
            machine_check(vp, gpa)
        parts.append(read.data)
        gpa += chunk
        size -= chunk
    return b"".join(parts)


def store(m: Machine, vp: Tdvps, gpa: int, data: bytes) -> None:
    """A guest store; a store to a part of a line reads the rest of it first."""
    while data:
        chunk = data[: 0x1000 - (gpa & 0xFFF)]
        address, key = translate(m, vp, gpa, write=True)
        if m.memory.write(address, chunk, key):
            machine_check(vp, gpa)
        gpa += len(chunk)
        data = data[len(chunk) :]


def machine_check(vp: Tdvps, gpa: int) -> None:
    """The TD consumed poison: it is marked fatal, the host learns that it is gone.

    Raises:
        GuestExit: always.
    """
    vp.tdr.fatal = True
    code = Status.NON_RECOVERABLE_TD_NON_ACCESSIBLE | EXIT_EXCEPTION
    raise GuestExit(code, rcx=0, rdx=0, r8=gpa & ~0xFFF, r9=_MACHINE_CHECK)


def _module_load(m: Machine, call: Call, gpa: int, size: int) -> bytes:
    address, key = translate(m, call.vp, gpa, write=False)
    read = m.memory.read(address, size, key)
    if read.poison:
        raise SeamMachineCheck
    return read.data


def _module_store(m: Machine, call: Call, gpa: int, data: bytes) -> None:
    address, key = translate(m, call.vp, gpa, write=True)
    if m.memory.write(address, data, key):
        raise SeamMachineCheck


def vp_vmcall(_: Machine, call: Call) -> None:
    """VP.VMCALL: leave to the host with the selected registers; all others read zero there."""
    mask = call.rcx
    never = _MASK_NEVER
    if call.tdcs.params.config_flags & _params.CONFIG_NO_RBP_MOD:
        never |= 1 << 5
    if mask & never or mask >> 32:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
    call.vp.vmcall = mask
    regs = {name: call.regs.get(name, 0) if mask >> i & 1 else 0 for i, name in enumerate(GPRS)}
    for name in ("rax", "rsp"):
        del regs[name]
    regs["rcx"] = mask
    raise GuestExit(EXIT_TDCALL, **regs)


def vp_info(_: Machine, call: Call) -> None:
    """VP.INFO: RCX width, RDX attributes, R8 vCPUs (now, at most), R9 this one's index."""
    tdcs = call.tdcs
    counts = tdcs.num_vcpus | tdcs.params.max_vcpus << 32
    call.out.update(rcx=tdcs.gpa_width, rdx=tdcs.params.attributes, r8=counts, r9=call.vp.index, r10=0, r11=0)


def rtmr_extend(m: Machine, call: Call) -> None:
    """MR.RTMR.EXTEND: RTMR[RDX] = SHA384(RTMR[RDX] with 48 bytes at RCX behind it)."""
    if call.rcx & 0x3F:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
    m.private_gpa(call.tdcs, call.rcx)
    data = _module_load(m, call, call.rcx, 48)
    if call.rdx > 3:
        raise Refused(Status.OPERAND_INVALID | Operand.RDX)
    m.busy(Operand.RTMR, "RTMR", call.tdr.pfn << 12)
    call.tdcs.rtmr[call.rdx] = hashlib.sha384(call.tdcs.rtmr[call.rdx] + data).digest()


def mr_report(m: Machine, call: Call) -> None:
    """MR.REPORT: a TDREPORT at RCX, bound to the 64 bytes at RDX."""
    if call.rcx & REPORT_SIZE - 1:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
    if call.rdx & 0x3F:
        raise Refused(Status.OPERAND_INVALID | Operand.RDX)
    data = _module_load(m, call, call.rdx, 64)
    if call.r8:
        raise Refused(Status.OPERAND_INVALID | Operand.R8)
    _module_store(m, call, call.rcx, make_report(call.tdcs, data, m.report_key))


def mr_verifyreport(m: Machine, call: Call) -> None:
    """MR.VERIFYREPORT: whether the REPORTMACSTRUCT at RCX was made on this platform."""
    if call.rcx & 0xFF:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
    structure = _module_load(m, call, call.rcx, 256)
    if any(structure[16:32]):
        raise Refused(Status.INVALID_CPUSVN)
    if not mac_ok(structure, m.report_key):
        raise Refused(Status.INVALID_REPORTMACSTRUCT)


def veinfo_get(_: Machine, call: Call) -> None:
    """VP.VEINFO.GET: read and clear what the last #VE was about."""
    info = call.vp.ve_info
    if info is None:
        raise Refused(Status.NO_VALID_VE_INFO)
    call.vp.ve_info = None
    call.out.update(rcx=info.reason, rdx=info.qualification, r8=info.gla, r9=info.gpa, r10=0)


def page_accept(m: Machine, call: Call) -> None:
    """MEM.PAGE.ACCEPT: zero an offered page and map it; an absent one is a TD exit, not an error."""
    gpa, level = m.split_gpa(call, 0, 1)
    sept = call.tdcs.sept
    page, index, at = sept.walk(gpa, level)
    if m.tainted:
        m.intact(page.pfn)
    entry = page.entries[index]
    state = entry_state(entry)
    if at != level:
        if TRAITS[state].readable:
            raise Refused(Status.PAGE_ALREADY_ACCEPTED | at)
        raise _ept_violation(gpa, True, EEQ_ACCEPT)
    m.busy(Operand.RCX, "SEPT_ENTRY", gpa)
    if state in (Septe.NL_MAPPED, Septe.NL_BLOCKED):
        raise Refused(Status.PAGE_SIZE_MISMATCH | at)
    if TRAITS[state].readable:
        raise Refused(Status.PAGE_ALREADY_ACCEPTED | at)
    if state not in SEPT_ALLOWED[call.leaf.name]:
        raise _ept_violation(gpa, True, EEQ_ACCEPT)
    first = entry_page(entry) & m.pa_mask >> 12
    for pfn in range(first, first + (1 << 9 * level)):
        m.memory.clear_page(pfn, call.tdr.key)
    accepted = Septe.MAPPED if state is Septe.PENDING else Septe.EXPORTED_DIRTY
    sept.set(page, index, make_entry(accepted, entry_page(entry)))


def page_attr(m: Machine, call: Call) -> None:
    """MEM.PAGE.ATTR.RD and .WR: the rule on the entry's state; the attributes serve nested VMs only."""
    gpa = call.rcx & ~0xFFF
    m.private_gpa(call.tdcs, gpa)
    page, index, _ = call.tdcs.sept.walk(gpa, 0)
    if entry_state(page.entries[index]) not in SEPT_ALLOWED[call.leaf.name]:
        raise _ept_violation(gpa, False)
    raise not_modelled(call.leaf.name)


def vm_rd(_: Machine, call: Call) -> None:
    """VM.RD: a TD-scope field; RDX names it."""
    call.out.update(rdx=call.rdx, r8=read_td_field(call.tdcs, call.rdx))


def vm_wr(_: Machine, call: Call) -> None:
    """VM.WR: TD_CTLS bit 0, where TD_PARAMS made it flexible; R8 the value, R9 the mask."""
    tdcs = call.tdcs
    old = read_td_field(tdcs, call.rdx)
    flexible = tdcs.params.config_flags & _params.CONFIG_FLEXIBLE_PENDING_VE
    if call.rdx != FIELD_TD_CTLS or not flexible:
        raise Refused(Status.METADATA_FIELD_NOT_WRITABLE)
    if call.r8 & call.r9 & ~TD_CTLS_PENDING_VE_DISABLE:
        raise Refused(Status.METADATA_FIELD_VALUE_NOT_VALID)
    tdcs.pending_ve_disable = bool((old & ~call.r9 | call.r8 & call.r9) & TD_CTLS_PENDING_VE_DISABLE)
    call.out["r8"] = old


def sys_rd(_: Machine, call: Call) -> None:
    """SYS.RD: a field of the module; RDX names it."""
    call.out.update(rdx=call.rdx, r8=read_field(call.rdx))


HANDLERS: dict[str, Callable[[Machine, Call], None]] = {
    "TDG.VP.VMCALL": vp_vmcall,
    "TDG.VP.INFO": vp_info,
    "TDG.MR.RTMR.EXTEND": rtmr_extend,
    "TDG.MR.REPORT": mr_report,
    "TDG.MR.VERIFYREPORT": mr_verifyreport,
    "TDG.VP.VEINFO.GET": veinfo_get,
    "TDG.MEM.PAGE.ACCEPT": page_accept,
    "TDG.MEM.PAGE.ATTR.RD": page_attr,
    "TDG.MEM.PAGE.ATTR.WR": page_attr,
    "TDG.VM.RD": vm_rd,
    "TDG.VM.WR": vm_wr,
    "TDG.SYS.RD": sys_rd,
}
