"""MEM.* and MR.* leaves: the Secure EPT, private pages, and the measurement of the build.

Check order after ``tdh_mem_*.c`` and ``tdh_mr_*.c`` of intel/tdx-module, branch ``tdx_1.5``.
"""

from __future__ import annotations

from collections.abc import Callable

from labkit.tdx._locks import PAGE_LOCKS
from labkit.tdx._machine import Call, Machine, Refused, SeamMachineCheck, describe, not_modelled
from labkit.tdx.objects import PamtEntry, Tdr
from labkit.tdx.phys import Read
from labkit.tdx.sept import (
    FREE_ENTRY,
    SeptPage,
    entry_page,
    entry_state,
    make_entry,
    with_state,
)
from labkit.tdx.states import IMPORT_STATES, SEPT_ALLOWED, TRAITS, OpState, PageType, Septe
from labkit.tdx.status import Operand, Status

_ADD = b"MEM.PAGE.ADD".ljust(16, b"\0")
_EXTEND = b"MR.EXTEND".ljust(16, b"\0")
_PAD = bytes(104)
_NULL_PA = (1 << 64) - 1
_UNUSED = 1 << 63
SEPT_PAGES = ("r8", "r9", "r10", "r11")
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


def sept_add(m: Machine, call: Call) -> None:
    """MEM.SEPT.ADD: hang an empty page below an entry; with bit 0 of RDX an existing one is fine.

    Version 1 also takes pages for nested VMs in R9 to R11, all ones for none, and gives back what it did not
    use, marked by bit 63. There are no nested VMs here.
    """
    pages = [plain_page(call.regs.get(name, 0)) for name in SEPT_PAGES]
    tdr: Tdr = call.tdr
    gpa, level = m.split_gpa(call, 1, tdr.tdcs.sept.top)
    page, index, entry, state = m.entry(call, gpa, level)
    new = pages[0]
    pfn: int | None = None
    if new == _NULL_PA and not call.version:
        raise Refused(Status.OPERAND_INVALID | Operand.R8)
    if new != _NULL_PA and state is Septe.FREE:
        pfn = m.page(new, Operand.R8, PageType.NDA)
    elif state is Septe.FREE or (new != _NULL_PA and not call.rdx & ALLOW_EXISTING):
        raise Refused(Status.EPT_ENTRY_STATE_INCORRECT | Operand.RCX, **describe(entry, level))
    if call.version:
        for operand, other in zip((Operand.R9, Operand.R10, Operand.R11), pages[1:], strict=True):
            if other != _NULL_PA:
                raise Refused(Status.OPERAND_INVALID | operand)
        call.out["r8"] = _NULL_PA if pfn is not None else new | _UNUSED
    if pfn is not None:
        _own_sept_page(m, tdr, pfn).bepoch = 0
        tdr.tdcs.sept.add(page, index, pfn)


def plain_page(address: int) -> int:
    """A page operand without the mark that it was not used; all ones mean that there is none."""
    return address if address == _NULL_PA else address & ~_UNUSED


def page_add(m: Machine, call: Call) -> None:
    """MEM.PAGE.ADD: copy a page of host memory into the TD and measure its guest address."""
    tdr: Tdr = call.tdr
    gpa, _ = m.split_gpa(call, 0, 0)
    page, index, _, _ = m.entry(call, gpa, 0)
    m.shared_page(call.r9, 0x1000, Operand.R9)
    pfn = m.page(call.r8, Operand.R8, PageType.NDA)
    assert tdr.key is not None
    m.memory.write_page(pfn, _sound(m.host_read(call.r9, 0x1000)), tdr.key)
    page.entries[index] = make_entry(Septe.MAPPED, pfn)
    m.pamt.claim(pfn, PageType.REG, tdr.pfn).bepoch = 0
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
    if not TRAITS[state].readable:
        raise Refused(Status.EPT_ENTRY_NOT_PRESENT | Operand.RCX, **describe(entry, level))
    if state is not Septe.MAPPED:
        raise Refused(Status.EPT_ENTRY_NOT_PRESENT)
    assert tdr.key is not None
    address = _leaf_address(entry, gpa, level)
    data = _sound(m.memory.read(address, 256, tdr.key))
    tdcs.measurement.update(_EXTEND + gpa.to_bytes(8, "little") + _PAD + data)


def _leaf_address(entry: int, gpa: int, level: int) -> int:
    return (entry_page(entry) << 12) + (gpa & (0x1000 << 9 * level) - 1)


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
    pfn = _free_2m(m, call.r8) if level else m.page(call.r8, Operand.R8, PageType.NDA)
    m.pamt.claim(pfn, PageType.REG, tdr.pfn, level).bepoch = 0
    tdr.children += 1 << 9 * level
    tdr.tdcs.sept.set(page, index, make_entry(Septe.PENDING, pfn))


def _free_2m(m: Machine, address: int) -> int:
    """Check and lock an explicit free range of 2 MiB; the lock excludes every page that lies in it."""
    if address & 0x1FFFFF or address >> m.hkid_shift:
        raise Refused(Status.OPERAND_INVALID | Operand.R8)
    pfn = address >> 12
    if not m.pamt.covered(pfn):
        raise Refused(Status.OPERAND_ADDR_RANGE_ERROR | Operand.R8)
    m.busy_page(pfn, 1, Operand.R8, exclusive=True)
    if not m.pamt.free_2m(pfn):
        raise Refused(Status.PAGE_METADATA_INCORRECT | Operand.R8)
    return pfn


def range_block(m: Machine, call: Call) -> None:
    """MEM.RANGE.BLOCK: no new translation through this entry; the epoch is noted in the PAMT."""
    tdcs = call.tdcs
    gpa, level = m.split_gpa(call, 0, tdcs.sept.top)
    page, index, entry, state = m.entry(call, gpa, level, exclusive=True)
    tdcs.sept.set(page, index, with_state(entry, _BLOCKED[state]))
    _metadata(m, entry, state, level).bepoch = tdcs.epoch


def _metadata(m: Machine, entry: int, state: Septe, level: int) -> PamtEntry:
    """The PAMT entry of the page below an entry: of its size for a leaf, 4 KiB for a table."""
    size = level if TRAITS[state].leaf else 0
    return m.pamt.sizes[size][entry_page(entry) >> 9 * size]


def range_unblock(m: Machine, call: Call) -> None:
    """MEM.RANGE.UNBLOCK: undo a block, once tracked."""
    tdcs = call.tdcs
    gpa, level = m.split_gpa(call, 0, tdcs.sept.top)
    page, index, entry, state = m.entry(call, gpa, level, exclusive=True)
    bepoch = _metadata(m, entry, state, level).bepoch
    m.quiesced(call, entry, state, level, bepoch, Operand.SEPT_TREE)
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
    pfn = entry_page(entry)
    m.busy(Operand.RCX, PAGE_LOCKS[level], pfn >> 9 * level)
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
    source = entry_page(entry)
    if call.r8 == source << 12:
        raise Refused(Status.OPERAND_INVALID | Operand.R8)
    m.busy(Operand.RCX, "PAGE", source)
    m.quiesced(call, entry, state, 0, _metadata(m, entry, state, 0).bepoch)
    target = m.page(call.r8, Operand.R8, PageType.NDA)
    assert tdr.key is not None
    if not TRAITS[state].pending:
        m.memory.write_page(target, _sound(m.memory.read_page(source, tdr.key)), tdr.key)
    m.pamt.release(source)
    m.pamt.claim(target, PageType.REG, tdr.pfn).bepoch = 0
    tdr.tdcs.sept.set(page, index, make_entry(_UNBLOCKED.get(state, state), target))
    call.out["rcx"] = source << 12


def page_demote(m: Machine, call: Call) -> None:
    """MEM.PAGE.DEMOTE: split a mapping of 2 MiB or 1 GiB; R8 is the new Secure EPT page.

    An interrupt that waits for the host ends the call before anything changed: the host repeats it.
    """
    tdr: Tdr = call.tdr
    sept = tdr.tdcs.sept
    gpa, level = m.split_gpa(call, 1, 2)
    page, index, entry, state = m.entry(call, gpa, level)
    m.quiesced(call, entry, state, level, _metadata(m, entry, state, level).bepoch)
    pfn = m.page(call.r8, Operand.R8, PageType.NDA)
    _restartable(call)
    first = entry_page(entry)
    m.pamt.split(first, level)
    _own_sept_page(m, tdr, pfn)
    small = _UNBLOCKED.get(state, state)
    step = 1 << 9 * (level - 1)
    table = sept.add(page, index, pfn)
    table.entries = [make_entry(small, first + i * step) for i in range(512)]
    sept.near.clear()


def _restartable(call: Call) -> None:
    """The last point at which an interrupt can end a call without a trace."""
    if call.lp.interrupt:
        call.lp.interrupt = False
        raise Refused(Status.INTERRUPTED_RESTARTABLE)


def _own_sept_page(m: Machine, tdr: Tdr, pfn: int) -> PamtEntry:
    """Make a free page a Secure EPT page of a TD."""
    assert tdr.key is not None
    m.memory.clear_page(pfn, tdr.key)
    tdr.children += 1
    return m.pamt.claim(pfn, PageType.EPT, tdr.pfn)


def page_promote(m: Machine, call: Call) -> None:
    """MEM.PAGE.PROMOTE: merge 512 pages in a row into one of the next size; RCX gives the freed table.

    Interrupted as DEMOTE is.
    """
    tdr: Tdr = call.tdr
    gpa, level = m.split_gpa(call, 1, 2)
    page, index, entry, state = m.entry(call, gpa, level)
    freed = entry_page(entry)
    m.busy(Operand.RCX, "PAGE", freed)
    m.quiesced(call, entry, state, level, m.pamt.sizes[0][freed].bepoch)
    table = _table(m, tdr, freed)
    if not _mergeable(table):
        code = Status.EPT_INVALID_PROMOTE_CONDITIONS | Operand.RCX
        raise Refused(code, **describe(entry, level))
    _restartable(call)
    m.pamt.merge(entry_page(table.entries[0]), level)
    tdr.tdcs.sept.drop(entry)
    tdr.tdcs.sept.set(page, index, table.entries[0])
    _free_control(m, tdr, freed)
    call.out["rcx"] = freed << 12


def _table(m: Machine, tdr: Tdr, pfn: int) -> SeptPage:
    """A Secure EPT page all of whose entries the module reads."""
    if m.tainted:
        m.intact(pfn)
    return tdr.tdcs.sept.pages[pfn]


def _mergeable(table: SeptPage) -> bool:
    first = table.entries[0]
    step = 1 << 9 * table.level
    if not TRAITS[entry_state(first)].mapped_or_pending or entry_page(first) & 512 * step - 1:
        return False
    return all(entry == first + (i * step << 12) for i, entry in enumerate(table.entries))


def _free_control(m: Machine, tdr: Tdr, pfn: int) -> None:
    m.pamt.release(pfn)
    tdr.children -= 1


def sept_remove(m: Machine, call: Call) -> None:
    """MEM.SEPT.REMOVE: take an empty Secure EPT page away; RCX gives its address."""
    tdr: Tdr = call.tdr
    gpa, level = m.split_gpa(call, 1, tdr.tdcs.sept.top)
    page, index, entry, state = m.entry(call, gpa, level, exclusive=True)
    freed = entry_page(entry)
    m.busy(Operand.RCX, "PAGE", freed)
    m.quiesced(call, entry, state, level, m.pamt.sizes[0][freed].bepoch)
    table = _table(m, tdr, freed)
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
    call.out["r8"] = 0
    if not tdr.tdcs.debug:
        raise Refused(Status.TD_NON_DEBUG)
    gpa = call.rcx
    if gpa & 7:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
    m.busy(Operand.SEPT_TREE, "SEPT_TREE", tdr.pfn << 12, exclusive=False)
    m.private_gpa(tdr.tdcs, gpa)
    page, index, level = tdr.tdcs.sept.walk(gpa, 0)
    if m.tainted:
        m.intact(page.pfn)
    entry = page.entries[index]
    state = entry_state(entry)
    if not TRAITS[state].readable:
        raise Refused(Status.EPT_ENTRY_NOT_PRESENT | Operand.RCX, **describe(entry, level))
    m.busy(Operand.RCX, "SEPT_ENTRY", gpa & ~0xFFF)
    if state not in SEPT_ALLOWED[call.leaf.name]:
        raise Refused(Status.EPT_ENTRY_STATE_INCORRECT | Operand.RCX, **describe(entry, level))
    return _leaf_address(entry, gpa, level)


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
