"""MEM.* and MR.* leaves: the Secure EPT, private pages, and the measurement of the build.

Check order after ``tdh_mem_*.c`` and ``tdh_mr_*.c`` of intel/tdx-module, branch ``tdx_1.5``.
"""

from __future__ import annotations

from collections.abc import Callable

from labkit.errors import NotModelled
from labkit.tdx._machine import Call, Machine, Refused, SeamMachineCheck, describe, not_modelled
from labkit.tdx._objects import PamtEntry, Tdr
from labkit.tdx._phys import Read
from labkit.tdx._sept import (
    FREE_ENTRY,
    SeptPage,
    entry_page,
    entry_state,
    make_entry,
    with_state,
)
from labkit.tdx._states import IMPORT_STATES, SEPT_ALLOWED, TRAITS, OpState, PageType, Septe
from labkit.tdx._status import Operand, Status

_ADD = b"MEM.PAGE.ADD".ljust(16, b"\0")
_EXTEND = b"MR.EXTEND".ljust(16, b"\0")
_PAD = bytes(104)
_NULL_PA = (1 << 64) - 1
ALLOW_EXISTING = 1

_UNBLOCKED = {
    Septe.BLOCKED: Septe.MAPPED,
    Septe.NL_BLOCKED: Septe.NL_MAPPED,
    Septe.PENDING_BLOCKED: Septe.PENDING,
}
_BLOCKED = {
    Septe.MAPPED: Septe.BLOCKED,
    Septe.BLOCKEDW: Septe.BLOCKED,
    Septe.NL_MAPPED: Septe.NL_BLOCKED,
    Septe.PENDING: Septe.PENDING_BLOCKED,
    Septe.PENDING_BLOCKEDW: Septe.PENDING_BLOCKED,
}


def _with_keyid(m: Machine, tdr: Tdr, pfn: int) -> int:
    return pfn | tdr.hkid << m.hkid_shift - 12


def _physical(m: Machine, entry: int) -> int:
    return entry_page(entry) & m.pa_mask >> 12


def sept_add(m: Machine, call: Call) -> None:
    """MEM.SEPT.ADD: hang an empty page below an entry; with bit 0 of RDX an existing one is fine."""
    tdr: Tdr = call.tdr
    gpa, level = m.split_gpa(call, 1, tdr.tdcs.sept.top)
    page, index, entry, state = m.entry(call, gpa, level)
    if state is not Septe.FREE:
        if not call.regs.get("rdx", 0) & ALLOW_EXISTING:
            raise Refused(Status.EPT_ENTRY_STATE_INCORRECT | Operand.RCX, **describe(entry, level))
        if call.version:
            call.out["r8"] = call.r8 | 1 << 63
        return
    pfn = m.page(call.r8 & ~(1 << 63), Operand.R8, PageType.NDA)
    _own_sept_page(m, tdr, pfn)
    tdr.tdcs.sept.add(page, index, pfn, _with_keyid(m, tdr, pfn))
    if call.version:
        call.out["r8"] = _NULL_PA


def page_add(m: Machine, call: Call) -> None:
    """MEM.PAGE.ADD: copy a page of host memory into the TD and measure its guest address."""
    tdr: Tdr = call.tdr
    gpa, _ = m.split_gpa(call, 0, 0)
    page, index, _, _ = m.entry(call, gpa, 0)
    m.shared_page(call.r9, 0x1000, Operand.R9)
    pfn = m.page(call.r8, Operand.R8, PageType.NDA)
    assert tdr.key is not None
    m.memory.write_page(pfn, _sound(m.host_read(call.r9, 0x1000)), tdr.key)
    page.entries[index] = make_entry(Septe.MAPPED, _with_keyid(m, tdr, pfn))
    m.pamt.claim(pfn, PageType.REG, tdr.pfn)
    tdr.children += 1
    tdr.tdcs.measurement.update(_ADD + gpa.to_bytes(8, "little") + _PAD)


def mr_extend(m: Machine, call: Call) -> None:
    """MR.EXTEND: measure 256 bytes of a mapped page, address first."""
    tdr: Tdr = call.tdr
    tdcs = tdr.tdcs
    gpa = call.rcx
    if gpa & 0xFF:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
    m.private_gpa(tdcs, gpa)
    page, index, level = tdcs.sept.walk(gpa, 0)
    if m.tainted:
        m.intact(page.pfn)
    entry = page.entries[index]
    state = entry_state(entry)
    if not TRAITS[state].leaf:
        raise Refused(Status.EPT_ENTRY_NOT_PRESENT | Operand.RCX, **describe(entry, level))
    if state is not Septe.MAPPED:
        raise Refused(Status.EPT_ENTRY_NOT_PRESENT)
    assert tdr.key is not None
    address = _leaf_address(m, entry, gpa, level)
    data = _sound(m.memory.read(address, 256, tdr.key))
    tdcs.measurement.update(_EXTEND + gpa.to_bytes(8, "little") + _PAD + data)


def _leaf_address(m: Machine, entry: int, gpa: int, level: int) -> int:
    return (_physical(m, entry) << 12) + (gpa & (0x1000 << 9 * level) - 1)


def _sound(read: Read) -> bytes:
    """What the module itself read: poison is a machine check inside SEAM."""
    if read.poison:
        raise SeamMachineCheck
    return read.data


def mr_finalize(_: Machine, call: Call) -> None:
    """MR.FINALIZE: the measurement becomes MRTD, the TD may run."""
    tdcs = call.tdcs
    if tdcs.num_vcpus == 0:
        raise Refused(Status.NO_VCPUS)
    tdcs.mrtd = tdcs.measurement.digest()
    tdcs.op_state = OpState.RUNNABLE


def page_aug(m: Machine, call: Call) -> None:
    """MEM.PAGE.AUG: offer a 4 KiB or 2 MiB page; it is PENDING until the guest accepts it."""
    tdr: Tdr = call.tdr
    gpa, level = m.split_gpa(call, 0, 1)
    page, index, _, _ = m.entry(call, gpa, level)
    pfn = _free_range(m, call.r8, level) if level else m.page(call.r8, Operand.R8, PageType.NDA)
    m.pamt.claim(pfn, PageType.REG, tdr.pfn, level)
    tdr.children += 1 << 9 * level
    tdr.tdcs.sept.set(page, index, make_entry(Septe.PENDING, _with_keyid(m, tdr, pfn)))


def _free_range(m: Machine, address: int, level: int) -> int:
    size = 0x1000 << 9 * level
    if address & size - 1 or address >> m.hkid_shift:
        raise Refused(Status.OPERAND_INVALID | Operand.R8)
    pfn = address >> 12
    if not m.pamt.covered(pfn):
        raise Refused(Status.OPERAND_ADDR_RANGE_ERROR | Operand.R8)
    m.busy(Operand.R8, "PAGE", pfn)
    if not m.pamt.free_range(pfn, level):
        raise Refused(Status.PAGE_METADATA_INCORRECT | Operand.R8)
    return pfn


def range_block(m: Machine, call: Call) -> None:
    """MEM.RANGE.BLOCK: no new translation through this entry; the epoch is noted in the PAMT."""
    tdcs = call.tdcs
    gpa, level = m.split_gpa(call, 0, tdcs.sept.top)
    page, index, entry, state = m.entry(call, gpa, level)
    tdcs.sept.set(page, index, with_state(entry, _BLOCKED[state]))
    _metadata(m, entry, state, level).bepoch = tdcs.epoch


def _metadata(m: Machine, entry: int, state: Septe, level: int) -> PamtEntry:
    """The PAMT entry of the page below an entry: of its size for a leaf, 4 KiB for a table."""
    size = level if TRAITS[state].leaf else 0
    return m.pamt.sizes[size][_physical(m, entry) >> 9 * size]


def range_unblock(m: Machine, call: Call) -> None:
    """MEM.RANGE.UNBLOCK: undo a block, once tracked."""
    tdcs = call.tdcs
    gpa, level = m.split_gpa(call, 0, tdcs.sept.top)
    page, index, entry, state = m.entry(call, gpa, level)
    m.quiesced(call, entry, state, level, _metadata(m, entry, state, level).bepoch)
    tdcs.sept.set(page, index, with_state(entry, _UNBLOCKED[state]))


def mem_track(m: Machine, call: Call) -> None:
    """MEM.TRACK: start a new epoch, unless a vCPU of the previous one still runs."""
    tdcs = call.tdcs
    m.busy(Operand.TD_EPOCH, "TD_EPOCH", call.tdr.pfn << 12)
    if tdcs.refcount[1 - (tdcs.epoch & 1)]:
        raise Refused(Status.PREVIOUS_TLB_EPOCH_BUSY)
    tdcs.epoch += 1


def page_remove(m: Machine, call: Call) -> None:
    """MEM.PAGE.REMOVE: take a private page away; RCX gives its physical address."""
    tdr: Tdr = call.tdr
    gpa, level = m.split_gpa(call, 0, 2)
    page, index, entry, state = m.entry(call, gpa, level)
    pfn = _physical(m, entry)
    m.busy(Operand.RCX, "PAGE", pfn)
    m.quiesced(call, entry, state, level, _metadata(m, entry, state, level).bepoch)
    new = FREE_ENTRY
    if tdr.tdcs.op_state in IMPORT_STATES:
        new = make_entry(Septe.REMOVED, 0)
    tdr.tdcs.sept.set(page, index, new)
    tdr.children -= 1 << 9 * level
    m.pamt.release(pfn, level)
    call.out["rcx"] = pfn << 12


def page_relocate(m: Machine, call: Call) -> None:
    """MEM.PAGE.RELOCATE: copy a page elsewhere under the same key; RCX gives the old address."""
    tdr: Tdr = call.tdr
    gpa, _ = m.split_gpa(call, 0, 0)
    page, index, entry, state = m.entry(call, gpa, 0)
    source = _physical(m, entry)
    if call.r8 == source << 12:
        raise Refused(Status.OPERAND_INVALID | Operand.R8)
    m.busy(Operand.RCX, "PAGE", source)
    m.quiesced(call, entry, state, 0, _metadata(m, entry, state, 0).bepoch)
    target = m.page(call.r8, Operand.R8, PageType.NDA)
    assert tdr.key is not None
    if not TRAITS[state].pending:
        m.memory.write_page(target, _sound(m.memory.read_page(source, tdr.key)), tdr.key)
    m.pamt.release(source)
    m.pamt.claim(target, PageType.REG, tdr.pfn)
    tdr.tdcs.sept.set(page, index, make_entry(_UNBLOCKED.get(state, state), _with_keyid(m, tdr, target)))
    call.out["rcx"] = source << 12


def page_demote(m: Machine, call: Call) -> None:
    """MEM.PAGE.DEMOTE: split a 2 MiB mapping; R8 is the new Secure EPT page."""
    tdr: Tdr = call.tdr
    gpa, level = m.split_gpa(call, 1, 2)
    page, index, entry, state = m.entry(call, gpa, level)
    _only_2m(level)
    m.quiesced(call, entry, state, level, _metadata(m, entry, state, level).bepoch)
    pfn = m.page(call.r8, Operand.R8, PageType.NDA)
    first = _physical(m, entry)
    m.pamt.split(first)
    _own_sept_page(m, tdr, pfn)
    small = _UNBLOCKED.get(state, state)
    tdr.tdcs.sept.add(page, index, pfn, _with_keyid(m, tdr, pfn))
    table = tdr.tdcs.sept.pages[_with_keyid(m, tdr, pfn)]
    table.entries = [make_entry(small, _with_keyid(m, tdr, first + i)) for i in range(512)]
    tdr.tdcs.sept.near.clear()


def _only_2m(level: int) -> None:
    if level != 1:
        raise NotModelled("Pages of 1 GiB are not modelled.", "Use 4 KiB and 2 MiB pages.")


def _own_sept_page(m: Machine, tdr: Tdr, pfn: int) -> None:
    """Make a free page a Secure EPT page of a TD."""
    assert tdr.key is not None
    m.pamt.claim(pfn, PageType.EPT, tdr.pfn)
    m.memory.clear_page(pfn, tdr.key)
    tdr.children += 1


def page_promote(m: Machine, call: Call) -> None:
    """MEM.PAGE.PROMOTE: merge 512 small pages in a row; RCX gives the freed Secure EPT page."""
    tdr: Tdr = call.tdr
    gpa, level = m.split_gpa(call, 1, 2)
    page, index, entry, state = m.entry(call, gpa, level)
    freed = _physical(m, entry)
    m.busy(Operand.RCX, "PAGE", freed)
    m.quiesced(call, entry, state, level, m.pamt.sizes[0][freed].bepoch)
    _only_2m(level)
    table = tdr.tdcs.sept.pages[entry_page(entry)]
    if not _mergeable(m, table):
        code = Status.EPT_INVALID_PROMOTE_CONDITIONS | Operand.RCX
        raise Refused(code, **describe(entry, level))
    if call.lp.interrupt:
        call.lp.interrupt = False
        raise Refused(Status.INTERRUPTED_RESTARTABLE)
    m.pamt.merge(_physical(m, table.entries[0]))
    tdr.tdcs.sept.drop(entry)
    tdr.tdcs.sept.set(page, index, table.entries[0])
    _free_control(m, tdr, freed)
    call.out["rcx"] = freed << 12


def _mergeable(m: Machine, table: SeptPage) -> bool:
    first = table.entries[0]
    state = entry_state(first)
    if not TRAITS[state].mapped_or_pending or _physical(m, first) & 511:
        return False
    return all(entry == first + (i << 12) for i, entry in enumerate(table.entries))


def _free_control(m: Machine, tdr: Tdr, pfn: int) -> None:
    m.pamt.release(pfn)
    m.tainted.discard(pfn)
    tdr.children -= 1


def sept_remove(m: Machine, call: Call) -> None:
    """MEM.SEPT.REMOVE: take an empty Secure EPT page away; RCX gives its address."""
    tdr: Tdr = call.tdr
    gpa, level = m.split_gpa(call, 1, tdr.tdcs.sept.top)
    page, index, entry, state = m.entry(call, gpa, level)
    freed = _physical(m, entry)
    m.busy(Operand.RCX, "PAGE", freed)
    m.quiesced(call, entry, state, level, m.pamt.sizes[0][freed].bepoch)
    table = tdr.tdcs.sept.pages[entry_page(entry)]
    if any(entry_state(child) is not Septe.FREE for child in table.entries):
        raise Refused(Status.EPT_PAGE_NOT_FREE | Operand.RCX, **describe(entry, level))
    tdr.tdcs.sept.drop(entry)
    tdr.tdcs.sept.set(page, index, FREE_ENTRY)
    _free_control(m, tdr, freed)
    call.out["rcx"] = freed << 12


def sept_rd(m: Machine, call: Call) -> None:
    """MEM.SEPT.RD: RCX the entry, RDX its level and public state."""
    gpa, level = m.split_gpa(call, 0, call.tdcs.sept.top)
    _, _, entry, _ = m.entry(call, gpa, level)
    call.out.update(describe(entry, level))


def export_unblockw(m: Machine, call: Call) -> None:
    """EXPORT.UNBLOCKW: only the checks, which take one address; what it does belongs to migration."""
    gpa, level = m.split_gpa(call, 0, 0)
    m.entry(call, gpa, level)
    raise not_modelled(call.leaf.name)


def mem_rd(m: Machine, call: Call) -> None:
    """MEM.RD: the host looks at 8 bytes of a debug TD."""
    address = _debug_address(m, call)
    call.out["r8"] = int.from_bytes(_sound(m.memory.read(address, 8, call.tdr.key)), "little")


def mem_wr(m: Machine, call: Call) -> None:
    """MEM.WR: the host changes 8 bytes of a debug TD; R8 in is the value, out the old one."""
    address = _debug_address(m, call)
    call.out["r8"] = int.from_bytes(_sound(m.memory.read(address, 8, call.tdr.key)), "little")
    m.memory.write(address, call.r8.to_bytes(8, "little"), call.tdr.key)


def _debug_address(m: Machine, call: Call) -> int:
    tdr: Tdr = call.tdr
    if not tdr.tdcs.debug:
        raise Refused(Status.TD_NON_DEBUG)
    gpa = call.rcx
    if gpa & 7:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
    m.busy(Operand.SEPT_TREE, "SEPT_TREE", tdr.pfn << 12)
    m.private_gpa(tdr.tdcs, gpa)
    page, index, level = tdr.tdcs.sept.walk(gpa, 0)
    if m.tainted:
        m.intact(page.pfn)
    entry = page.entries[index]
    state = entry_state(entry)
    if level and not TRAITS[state].leaf:
        raise Refused(Status.EPT_ENTRY_NOT_PRESENT | Operand.RCX, **describe(entry, level))
    m.busy(Operand.RCX, "SEPT_ENTRY", gpa & ~0xFFF)
    if state not in SEPT_ALLOWED[call.leaf.name]:
        raise Refused(Status.EPT_ENTRY_STATE_INCORRECT | Operand.RCX, **describe(entry, level))
    return _leaf_address(m, entry, gpa, level)


HANDLERS: dict[str, Callable[[Machine, Call], None]] = {
    "TDH.MEM.SEPT.ADD": sept_add,
    "TDH.MEM.PAGE.ADD": page_add,
    "TDH.MEM.PAGE.AUG": page_aug,
    "TDH.MEM.PAGE.REMOVE": page_remove,
    "TDH.MEM.PAGE.RELOCATE": page_relocate,
    "TDH.MEM.PAGE.DEMOTE": page_demote,
    "TDH.MEM.PAGE.PROMOTE": page_promote,
    "TDH.MEM.RANGE.BLOCK": range_block,
    "TDH.MEM.RANGE.UNBLOCK": range_unblock,
    "TDH.MEM.SEPT.REMOVE": sept_remove,
    "TDH.MEM.SEPT.RD": sept_rd,
    "TDH.MEM.TRACK": mem_track,
    "TDH.MEM.RD": mem_rd,
    "TDH.MEM.WR": mem_wr,
    "TDH.EXPORT.UNBLOCKW": export_unblockw,
    "TDH.MR.EXTEND": mr_extend,
    "TDH.MR.FINALIZE": mr_finalize,
}
