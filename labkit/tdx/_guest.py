"""The guest's side: its loads and stores through the Secure EPT, and the TDCALL leaves.

After ``src/td_dispatcher/vm_exits/`` of intel/tdx-module, branch ``tdx_1.5``. Guests run without paging of
their own: a guest linear address equals the guest physical address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from labkit.tdx import params as layout
from labkit.tdx._machine import Call, GuestExit, GuestFault, Machine, Refused, SeamMachineCheck, not_modelled
from labkit.tdx._metadata import (
    NO_FIELD,
    SYS_FIELDS,
    TD_CTLS,
    TD_CTLS_PENDING_VE_DISABLE,
    TD_FIELDS,
    Accessor,
    find_field,
    next_field,
    readable_field,
    same_field,
    sys_value,
    td_value,
    write_masked,
)
from labkit.tdx._report import REPORT_SIZE, mac_ok, make_report
from labkit.tdx._vp import (
    EEQ_ACCEPT,
    EEQ_PENDING,
    EXIT_EPT_VIOLATION,
    EXIT_EXCEPTION,
    EXIT_TDCALL,
    GPRS,
    ept_violation,
    external_interrupt,
)
from labkit.tdx.objects import Tdvps, VeInfo
from labkit.tdx.phys import Key
from labkit.tdx.sept import entry_page, entry_state, make_entry
from labkit.tdx.states import SEPT_ALLOWED, TRAITS, Septe
from labkit.tdx.status import Operand, Status

_MACHINE_CHECK = 0x80000312
_MASK_NEVER = 1 << 0 | 1 << 1 | 1 << 4
_READ, _WRITE = 1, 2


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
    return _walk(m, vp, gpa, write, _WRITE if write else _READ)


def _walk(m: Machine, vp: Tdvps, gpa: int, write: bool, access: int) -> tuple[int, Key]:
    """Translate an address of the guest's width; access is what a violation reports."""
    tdcs = vp.tdr.tdcs
    if gpa >> tdcs.gpa_width - 1:
        return _translate_shared(m, vp, gpa, access)
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
        first = entry_page(entry)
        pfn = first + (gpa >> 12 & (1 << 9 * level) - 1)
        vp.tlb[gpa >> 12] = pfn, traits.writable
        return pfn << 12 | gpa & 0xFFF, vp.tdr.key
    if traits.acceptable and not tdcs.pending_ve_disable:
        raise_ve(vp, gpa, access)
    raise ept_violation(gpa, access, EEQ_PENDING if traits.acceptable else 0)


def _translate_shared(m: Machine, vp: Tdvps, gpa: int, access: int) -> tuple[int, Key]:
    tdcs = vp.tdr.tdcs
    target = tdcs.shared_ept.get((gpa & (1 << tdcs.gpa_width - 1) - 1) >> 12)
    if target is None:
        raise ept_violation(gpa, access)
    keyid = target >> m.hkid_shift
    if m.is_private(keyid):
        # A private KeyID in the shared tables is reserved bits there: EPT misconfiguration in the host.
        raise ept_violation(gpa, access)
    return target & m.pa_mask | gpa & 0xFFF, m.shared_key(keyid)


def raise_ve(vp: Tdvps, gpa: int, access: int) -> None:
    """Give the guest a #VE for an EPT violation; before the last one was read it gets a #DF instead.

    Raises:
        GuestFault: always.
    """
    if vp.ve_info is not None:
        raise GuestFault("#DF", gpa)
    vp.ve_info = VeInfo(EXIT_EPT_VIOLATION, access, gpa, gpa)
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


def _module_load(m: Machine, call: Call, gpa: int, size: int, operand: int) -> bytes:
    address, key = _module_translate(m, call, gpa, _READ, operand)
    read = m.memory.read(address, size, key)
    if read.poison:
        raise SeamMachineCheck
    return read.data


def _module_store(m: Machine, call: Call, gpa: int, data: bytes, operand: int) -> None:
    # The module maps the page for reading and writing, and a violation reports both.
    address, key = _module_translate(m, call, gpa, _READ | _WRITE, operand)
    # Whole lines: the store reads nothing, and so meets no poison.
    m.memory.write(address, data, key)


def _module_translate(m: Machine, call: Call, gpa: int, access: int, operand: int) -> tuple[int, Key]:
    """Translate an address that the guest gave to the module."""
    if gpa >> call.tdcs.gpa_width:
        raise Refused(Status.OPERAND_INVALID | operand)
    return _walk(m, call.vp, gpa, bool(access & _WRITE), access)


def vp_vmcall(_: Machine, call: Call) -> None:
    """VP.VMCALL: leave to the host with the selected registers; all others read zero there."""
    mask = call.rcx
    never = _MASK_NEVER
    if call.tdcs.params.config_flags & layout.CONFIG_NO_RBP_MOD:
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
    # R10 bit 0: this module has SYS.RD and its kin.
    call.out.update(rcx=tdcs.gpa_width, rdx=tdcs.params.attributes, r8=counts, r9=call.vp.index, r10=1, r11=0)


def rtmr_extend(m: Machine, call: Call) -> None:
    """MR.RTMR.EXTEND: RTMR[RDX] = SHA384(RTMR[RDX] with 48 bytes at RCX behind it)."""
    if call.rcx & 0x3F:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
    m.private_gpa(call.tdcs, call.rcx)
    data = _module_load(m, call, call.rcx, 48, Operand.RCX)
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
    data = _module_load(m, call, call.rdx, 64, Operand.RDX)
    if call.r8:
        raise Refused(Status.OPERAND_INVALID | Operand.R8)
    _module_store(m, call, call.rcx, make_report(call.tdcs, data, m.report_key), Operand.RCX)


def mr_verifyreport(m: Machine, call: Call) -> None:
    """MR.VERIFYREPORT: whether the REPORTMACSTRUCT at RCX was made on this platform."""
    if call.rcx & 0xFF:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
    structure = _module_load(m, call, call.rcx, 256, Operand.RCX)
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
    """MEM.PAGE.ACCEPT: zero an offered page and map it; an absent one is a TD exit, not an error.

    2 MiB are zeroed page by page, and an interrupt for the host comes in between: the guest's instruction is
    then not over, and runs again when the guest does.
    """
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
        raise _not_acceptable(gpa, level, at, state)
    m.busy(Operand.RCX, "SEPT_ENTRY", gpa)
    if state in (Septe.NL_MAPPED, Septe.NL_BLOCKED):
        raise Refused(Status.PAGE_SIZE_MISMATCH | at)
    if TRAITS[state].readable:
        raise Refused(Status.PAGE_ALREADY_ACCEPTED | at)
    if state not in SEPT_ALLOWED[call.leaf.name]:
        raise _not_acceptable(gpa, level, at, state)
    first = entry_page(entry)
    for pfn in range(first, first + (1 << 9 * level)):
        m.memory.clear_page(pfn, call.tdr.key)
        if level and call.lp.interrupt:
            call.lp.interrupt = False
            raise external_interrupt()
    accepted = Septe.MAPPED if state is Septe.PENDING else Septe.EXPORTED_DIRTY
    sept.set(page, index, make_entry(accepted, first))


def _not_acceptable(gpa: int, level: int, at: int, state: Septe) -> GuestExit:
    """The exit of an ACCEPT: the level that was asked for, level and state of the entry that was found."""
    traits = TRAITS[state]
    info = level | at << 3 | traits.public << 6 | traits.leaf << 14
    return ept_violation(gpa, _WRITE, EEQ_ACCEPT, info)


def page_attr(m: Machine, call: Call) -> None:
    """MEM.PAGE.ATTR.RD and .WR: the rule on the entry's state; the attributes serve nested VMs only."""
    gpa = call.rcx & ~0xFFF
    m.private_gpa(call.tdcs, gpa)
    page, index, _ = call.tdcs.sept.walk(gpa, 0)
    if entry_state(page.entries[index]) not in SEPT_ALLOWED[call.leaf.name]:
        raise ept_violation(gpa, _READ)
    raise not_modelled(call.leaf.name)


def vm_rd(_: Machine, call: Call) -> None:
    """VM.RD: a TD-scope field, named by RDX; version 1 also gives the next one in RDX."""
    call.out["r8"] = 0
    if call.rcx:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
    field = readable_field(TD_FIELDS, call.rdx, Accessor.GUEST)
    if call.version:
        call.out["rdx"] = next_field(field, Accessor.GUEST)
    call.out["r8"] = td_value(call.tdcs, call.rdx)


def vm_wr(_: Machine, call: Call) -> None:
    """VM.WR: TD_CTLS bit 0, which may change where TD_PARAMS made it flexible; R8 the value, R9 the mask."""
    tdcs = call.tdcs
    call.out["r8"] = 0
    if call.rcx:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
    find_field(TD_FIELDS, call.rdx)
    writable = TD_CTLS_PENDING_VE_DISABLE if same_field(call.rdx, TD_CTLS) else 0
    old = td_value(tdcs, call.rdx)
    new = write_masked(old, call.r8, call.r9, writable)
    if new != old and not tdcs.params.config_flags & layout.CONFIG_FLEXIBLE_PENDING_VE:
        raise Refused(Status.METADATA_FIELD_VALUE_NOT_VALID)
    tdcs.pending_ve_disable = bool(new & TD_CTLS_PENDING_VE_DISABLE)
    call.out["r8"] = old


def sys_rd(m: Machine, call: Call) -> None:
    """SYS.RD: a field of the module, named by RDX; RDX then names the next one."""
    call.out.update(rdx=NO_FIELD, r8=0)
    field = readable_field(SYS_FIELDS, call.rdx, Accessor.GUEST)
    call.out.update(r8=sys_value(m, call.rdx), rdx=next_field(field, Accessor.GUEST))


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
