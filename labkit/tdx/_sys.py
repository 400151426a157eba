"""SYS.* leaves: the module's own start, in the check order of ``tdh_sys_*.c`` (intel/tdx-module, tdx_1.5)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from labkit.tdx._machine import Call, Machine, Refused, not_modelled
from labkit.tdx._metadata import SYS_FIELDS, Accessor, next_field, readable_field, sys_value
from labkit.tdx.params import GIB, MAX_CMRS, MAX_TDMRS, Tdmr, tdsysinfo
from labkit.tdx.phys import Key
from labkit.tdx.states import KeyState, SysState
from labkit.tdx.status import Operand, Status

# CPUID 80000008H EAX[7:0] that the module insists on.
MAX_PA = 52
TDMR_INIT_PAGES = 1024
_PAMT_PAGE = (0x1000, 0x1000 << 9, GIB)


def _sys_lock(m: Machine) -> None:
    if m.locks.holders and not m.locks.free(("SYS",), exclusive=True):
        raise Refused(Status.SYS_BUSY)


def sys_init(m: Machine, call: Call) -> None:
    """SYS.INIT: once, on any processor; the module starts on 52 bits of physical address only."""
    _sys_lock(m)
    if call.rcx:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
    if m.sys_state is not SysState.SYSINIT_PENDING:
        raise Refused(Status.SYS_INIT_NOT_PENDING)
    if m.config.max_pa != MAX_PA:
        raise Refused(Status.INCORRECT_CPUID_VALUE)
    m.sys_state = SysState.SYSINIT_DONE


def sys_lp_init(m: Machine, call: Call) -> None:
    """SYS.LP.INIT: once on every logical processor."""
    _sys_lock(m)
    if m.sys_state is not SysState.SYSINIT_DONE:
        raise Refused(Status.SYS_LP_INIT_NOT_PENDING)
    if call.lp.initialized:
        raise Refused(Status.SYS_LP_INIT_DONE)
    call.lp.initialized = True


def _lp_done(call: Call) -> None:
    if not call.lp.initialized:
        raise Refused(Status.SYS_LP_INIT_NOT_DONE)


def sys_info(m: Machine, call: Call) -> None:
    """SYS.INFO: write TDSYSINFO_STRUCT at RCX and the CMR table at R8."""
    _lp_done(call)
    m.shared_page(call.rcx, 1024, Operand.RCX)
    if call.rdx < 1024:
        raise Refused(Status.OPERAND_INVALID | Operand.RDX)
    m.shared_page(call.r8, 512, Operand.R8)
    if call.r9 < MAX_CMRS:
        raise Refused(Status.OPERAND_INVALID | Operand.R9)
    m.host_write(call.rcx, tdsysinfo())
    cmrs = b"".join(struct.pack("<QQ", *cmr) for cmr in m.config.cmrs)
    m.host_write(call.r8, cmrs.ljust(16 * MAX_CMRS, b"\0"))
    call.out.update(rdx=1024, r9=MAX_CMRS)


def sys_rd(m: Machine, call: Call) -> None:
    """SYS.RD: one metadata field of the module, named by RDX; RDX then names the next one."""
    _lp_done(call)
    field = readable_field(SYS_FIELDS, call.rdx, Accessor.HOST)
    call.out.update(r8=sys_value(m, call.rdx), rdx=next_field(field, Accessor.HOST))


def sys_rdall(_: Machine, call: Call) -> None:
    """SYS.RDALL: only the checks before the list is written."""
    _lp_done(call)
    raise not_modelled(call.leaf.name)


def sys_config(m: Machine, call: Call) -> None:
    """SYS.CONFIG: take the list of TDMRs and the module's own KeyID."""
    _sys_lock(m)
    if m.sys_state is not SysState.SYSINIT_DONE or not all(lp.initialized for lp in m.lps):
        raise Refused(Status.SYS_CONFIG_NOT_PENDING)
    m.shared_page(call.rcx, 512, Operand.RCX)
    if not 1 <= call.rdx <= MAX_TDMRS:
        raise Refused(Status.OPERAND_INVALID | Operand.RDX)
    if not m.is_private(call.r8):
        raise Refused(Status.OPERAND_INVALID | Operand.R8)
    addresses = struct.unpack(f"<{call.rdx}Q", m.host_read(call.rcx, 8 * call.rdx).data)
    tdmrs: list[Tdmr] = []
    for index, address in enumerate(addresses):
        m.shared_page(address, 512, Operand.RCX)
        tdmr = Tdmr.unpack(m.host_read(address, 512).data)
        _check_tdmr(m, index, tdmr, tdmrs)
        tdmrs.append(tdmr)
    m.kot[call.r8].state = KeyState.RESERVED
    m.hkid = call.r8
    m.tdmrs = tdmrs
    m.tdmr_next = [tdmr.base for tdmr in tdmrs]
    for tdmr in tdmrs:
        m.pamt.configure(tdmr)
    m.sys_state = SysState.SYSCONFIG_DONE


def _check_tdmr(m: Machine, index: int, tdmr: Tdmr, before: list[Tdmr]) -> None:
    if tdmr.end >> 64:
        raise Refused(Status.INVALID_TDMR | index)
    if before and tdmr.base < before[-1].end:
        raise Refused(Status.NON_ORDERED_TDMR | index)
    aligned = tdmr.base % GIB == 0 and tdmr.size % GIB == 0 and tdmr.size > 0
    if not aligned or tdmr.end > 1 << m.hkid_shift:
        raise Refused(Status.INVALID_TDMR | index)
    _check_reserved(index, tdmr)
    _check_pamt(m, index, tdmr, before)
    if not all(_in_cmr(m, base, end) for base, end in _usable(tdmr)):
        raise Refused(Status.TDMR_OUTSIDE_CMRS | index)


def _check_reserved(index: int, tdmr: Tdmr) -> None:
    end = 0
    for area, (offset, size) in enumerate(tdmr.reserved):
        detail = index | area << 8
        if size == 0:
            # Trailing empty areas were dropped: a used one follows, if not at once then later.
            if tdmr.reserved[area + 1][1]:
                raise Refused(Status.NON_ORDERED_RESERVED_IN_TDMR | detail)
            continue
        if offset + size >> 64:
            raise Refused(Status.INVALID_RESERVED_IN_TDMR | detail)
        if offset < end:
            raise Refused(Status.NON_ORDERED_RESERVED_IN_TDMR | detail)
        if offset & 0xFFF or size & 0xFFF or offset + size > tdmr.size:
            raise Refused(Status.INVALID_RESERVED_IN_TDMR | detail)
        end = offset + size


def _check_pamt(m: Machine, index: int, tdmr: Tdmr, before: list[Tdmr]) -> None:
    """The three PAMT areas: shape, apart from each other, outside of usable memory, convertible."""
    areas = _areas(tdmr)
    for level in (2, 1, 0):
        base, size = areas[level]
        wanted = tdmr.size // _PAMT_PAGE[level] * 16
        if base & 0xFFF or size & 0xFFF or size < wanted or base + size > 1 << m.hkid_shift:
            raise Refused(Status.INVALID_PAMT | index | level << 8)
    for other, earlier in enumerate(before):
        for level, area in enumerate(areas):
            if any(_overlap(area, taken) for taken in _areas(earlier)):
                raise _pamt_overlap(index, level, other)
    for level, larger in ((0, 1), (0, 2), (1, 2)):
        if _overlap(areas[level], areas[larger]):
            raise _pamt_overlap(index, level, index)
    for other, earlier in enumerate((*before, tdmr)):
        _check_usable(index, tdmr, other, earlier)
        if other < index:
            _check_usable(other, earlier, index, tdmr)
    for level in (2, 1, 0):
        if not _in_cmr(m, areas[level][0], sum(areas[level])):
            raise Refused(Status.PAMT_OUTSIDE_CMRS | index | level << 8)


def _areas(tdmr: Tdmr) -> tuple[tuple[int, int], ...]:
    """The PAMT areas by level."""
    return tdmr.pamt_4k, tdmr.pamt_2m, tdmr.pamt_1g


def _pamt_overlap(index: int, level: int, other: int) -> Refused:
    """The refusal that names a TDMR, the size of its PAMT area, and the TDMR that it meets."""
    return Refused(Status.PAMT_OVERLAP | index | level << 8 | other << 16)


def _check_usable(index: int, tdmr: Tdmr, other: int, usable: Tdmr) -> None:
    """No PAMT area of one TDMR may lie in memory of another, or of itself, that is not reserved."""
    for level, area in enumerate(_areas(tdmr)):
        if any(_overlap(area, (base, end - base)) for base, end in _usable(usable)):
            raise _pamt_overlap(index, level, other)


def _usable(tdmr: Tdmr) -> list[tuple[int, int]]:
    """The parts of a TDMR between its reserved areas, as (start, end)."""
    parts = []
    start = tdmr.base
    for offset, size in tdmr.reserved:
        if tdmr.base + offset > start:
            parts.append((start, tdmr.base + offset))
        start = tdmr.base + offset + size
    if start < tdmr.end:
        parts.append((start, tdmr.end))
    return parts


def _overlap(one: tuple[int, int], two: tuple[int, int]) -> bool:
    return one[0] < two[0] + two[1] and two[0] < one[0] + one[1]


def _in_cmr(m: Machine, start: int, end: int) -> bool:
    """Whether a range lies in convertible memory; a CMR that begins where the last one ends continues it."""
    first = last = 0
    for base, size in m.config.cmrs:
        if not size:
            continue
        if base != last:
            first = base
        last = base + size
        if first <= start and end <= last:
            return True
    return False


def sys_key_config(m: Machine, call: Call) -> None:
    """SYS.KEY.CONFIG: once a package; after the last one the module is READY."""
    _sys_lock(m)
    if m.sys_state is not SysState.SYSCONFIG_DONE:
        raise Refused(Status.SYS_KEY_CONFIG_NOT_PENDING)
    if m.key_packages >> call.lp.package & 1:
        raise Refused(Status.KEY_CONFIGURED)
    material = m.entropy(32, Status.KEY_GENERATION_FAILED)
    m.keys.setdefault(m.hkid, Key(m.hkid, material, private=True))
    m.key_packages |= 1 << call.lp.package
    if m.key_packages == (1 << m.config.packages) - 1:
        m.sys_state = SysState.SYS_READY


def sys_tdmr_init(m: Machine, call: Call) -> None:
    """SYS.TDMR.INIT: initialize the PAMT of the next 4 MiB; RDX says how far it is usable (whole GiB)."""
    if call.rcx % GIB or call.rcx >> m.hkid_shift:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
    bases = [tdmr.base for tdmr in m.tdmrs]
    if call.rcx not in bases:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
    m.busy(Operand.RCX, "TDMR", call.rcx)
    index = bases.index(call.rcx)
    if m.tdmr_next[index] >= m.tdmrs[index].end:
        raise Refused(Status.TDMR_ALREADY_INITIALIZED)
    m.tdmr_next[index] += TDMR_INIT_PAGES * 0x1000
    done = m.tdmr_next[index] & ~(GIB - 1)
    if done == m.tdmr_next[index]:
        m.pamt.ready.append((done - GIB >> 12, done >> 12))
    call.out.update(rdx=done)


def sys_lp_shutdown(_: Machine, __: Call) -> None:
    """SYS.LP.SHUTDOWN: kept for compatibility, does nothing."""


def sys_shutdown(m: Machine, call: Call) -> None:
    """SYS.SHUTDOWN: the end of the module, unless another processor is inside it or runs a TD.

    RCX is the version of the hand-over to a new module; this one has version 0.
    """
    if call.rcx:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
    _sys_lock(m)
    if any(lp.active is not None for lp in m.lps):
        raise Refused(Status.SYS_BUSY)
    m.sys_state = SysState.SYS_SHUTDOWN


def sys_update(m: Machine, _: Call) -> None:
    """SYS.UPDATE: take over from an older module, which never left anything here."""
    _sys_lock(m)
    if m.sys_state is not SysState.SYSINIT_DONE or not all(lp.initialized for lp in m.lps):
        raise Refused(Status.SYS_STATE_INCORRECT)
    raise Refused(Status.SYS_INVALID_HANDOFF)


HANDLERS: dict[str, Callable[[Machine, Call], None]] = {
    "TDH.SYS.INIT": sys_init,
    "TDH.SYS.LP.INIT": sys_lp_init,
    "TDH.SYS.INFO": sys_info,
    "TDH.SYS.RD": sys_rd,
    "TDH.SYS.CONFIG": sys_config,
    "TDH.SYS.KEY.CONFIG": sys_key_config,
    "TDH.SYS.TDMR.INIT": sys_tdmr_init,
    "TDH.SYS.LP.SHUTDOWN": sys_lp_shutdown,
    "TDH.SYS.RDALL": sys_rdall,
    "TDH.SYS.SHUTDOWN": sys_shutdown,
    "TDH.SYS.UPDATE": sys_update,
}
