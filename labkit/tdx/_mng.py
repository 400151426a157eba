"""MNG.* and PHYMEM.* leaves: a TD's life from its KeyID to the last page reclaimed.

Check order after ``tdh_mng_*.c`` and ``tdh_phymem_*.c`` of intel/tdx-module, branch ``tdx_1.5``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from labkit.errors import NotModelled
from labkit.tdx import params as layout
from labkit.tdx._machine import Call, Machine, Refused
from labkit.tdx._metadata import TD_FIELDS, Accessor, find_field, next_field, readable_field, td_value
from labkit.tdx.objects import MAX_TDCX, MIN_TDCX, Tdcs, Tdr
from labkit.tdx.params import TdParams
from labkit.tdx.phys import Key
from labkit.tdx.sept import SeptTree
from labkit.tdx.states import KeyState, LifeCycle, OpState, PageType
from labkit.tdx.status import Operand, Status

_SEPT_ROOT = 3
# The one CPUID leaf that hosts configure without virtualizing it: the processor's own signature.
_CPUID_SIGNATURE = 0xFFFFFFFF_00000001


def mng_create(m: Machine, call: Call) -> None:
    """MNG.CREATE: a free page becomes a TDR, a free KeyID is bound to it."""
    if not m.is_private(call.rdx):
        raise Refused(Status.OPERAND_INVALID | Operand.RDX)
    pfn = m.page(call.rcx, Operand.RCX, PageType.NDA)
    m.busy(Operand.KOT, "KOT")
    if m.kot[call.rdx].state is not KeyState.FREE:
        raise Refused(Status.HKID_NOT_FREE)
    uuid = m.entropy(32, Status.RND_NO_ENTROPY)
    m.kot[call.rdx].state = KeyState.ASSIGNED
    m.tdrs[pfn] = Tdr(pfn, call.rdx, uuid)
    m.pamt.claim(pfn, PageType.TDR, 0)
    m.memory.clear_page(pfn, m.keys[m.hkid])


def mng_key_config(m: Machine, call: Call) -> None:
    """MNG.KEY.CONFIG: once a package; the engine draws the key, nobody sees it."""
    tdr: Tdr = call.tdr
    if tdr.fatal:
        raise Refused(Status.TD_FATAL)
    if tdr.lifecycle is not LifeCycle.HKID_ASSIGNED:
        raise Refused(Status.LIFECYCLE_STATE_INCORRECT)
    if tdr.packages >> call.lp.package & 1:
        raise Refused(Status.KEY_CONFIGURED)
    material = m.entropy(32, Status.KEY_GENERATION_FAILED)
    if tdr.key is None:
        tdr.key = m.keys[tdr.hkid] = Key(tdr.hkid, material, private=True)
    tdr.packages |= 1 << call.lp.package
    if tdr.packages == (1 << m.config.packages) - 1:
        tdr.lifecycle = LifeCycle.KEYS_CONFIGURED


def mng_addcx(m: Machine, call: Call) -> None:
    """MNG.ADDCX: another control page of the TD."""
    tdr: Tdr = call.tdr
    if tdr.fatal:
        raise Refused(Status.TD_FATAL)
    if tdr.lifecycle is not LifeCycle.KEYS_CONFIGURED:
        raise Refused(Status.TD_KEYS_NOT_CONFIGURED)
    if len(tdr.tdcx) >= MAX_TDCX:
        raise Refused(Status.TDCX_NUM_INCORRECT)
    pfn = m.page(call.rcx, Operand.RCX, PageType.NDA)
    assert call.leaf.states is not None
    if len(tdr.tdcx) >= MIN_TDCX and tdr.tdcs.op_state not in call.leaf.states:
        raise Refused(Status.OP_STATE_INCORRECT)
    if len(tdr.tdcx) + 1 == MIN_TDCX:
        # Now there is room for the key of a first migration, which is drawn whether or not one follows.
        m.entropy(32, Status.RND_NO_ENTROPY)
    own_page(m, tdr, pfn, PageType.TDCX)
    tdr.tdcx.append(pfn)


def own_page(m: Machine, tdr: Tdr, pfn: int, page_type: PageType) -> None:
    """Give a free page to a TD as a control page, cleared under its key."""
    assert tdr.key is not None
    m.pamt.claim(pfn, page_type, tdr.pfn)
    m.memory.clear_page(pfn, tdr.key)
    tdr.children += 1


def mng_init(m: Machine, call: Call) -> None:
    """MNG.INIT: read TD_PARAMS, start the measurement."""
    m.shared_page(call.rdx, 1024, Operand.RDX)
    data = m.host_read(call.rdx, 1024).data
    params = TdParams.unpack(data)
    tdr: Tdr = call.tdr
    check_params(params, data, len(tdr.tdcx))
    virtual_cpuid = _check_cpuid(data, m.config.cpu_signature)
    _check_arch_capabilities(data)
    if params.num_l2_vms or virtual_cpuid:
        raise NotModelled(
            "TD_PARAMS asks for nested VMs or for CPUID virtualization, which the model leaves out.",
            "Set NUM_L2_VMS and the CPUID configuration to zero.",
        )
    tdcs: Tdcs = tdr.tdcs
    tdcs.params = params
    tdcs.pending_ve_disable = bool(params.attributes & layout.ATTRIBUTES_SEPT_VE_DISABLE)
    tdcs.sept = SeptTree(call.tdr.tdcx[_SEPT_ROOT], params.eptp_controls >> 3 & 7)
    tdcs.measurement = hashlib.sha384()
    tdcs.op_state = OpState.INITIALIZED


def check_params(params: TdParams, data: bytes, tdcx: int) -> None:
    """Apply the module's rules to TD_PARAMS, in its order; data is the structure, tdcx the TD's pages."""
    if not attributes_allowed(params.attributes):
        raise Refused(Status.OPERAND_INVALID | Operand.ATTRIBUTES)
    if not xfam_allowed(params.xfam):
        raise Refused(Status.OPERAND_INVALID | Operand.XFAM)
    if params.max_vcpus == 0:
        raise Refused(Status.OPERAND_INVALID | Operand.MAX_VCPUS)
    if params.num_l2_vms > layout.MAX_L2_VMS:
        raise Refused(Status.OPERAND_INVALID | Operand.NUM_L2_VMS)
    if tdcx < MIN_TDCX + params.num_l2_vms:
        raise Refused(Status.TDCS_NOT_ALLOCATED)
    if any(data[layout.RESERVED_0]):
        raise Refused(Status.OPERAND_INVALID | Operand.RDX)
    if params.config_flags & ~layout.CONFIG_ALLOWED:
        raise Refused(Status.OPERAND_INVALID | Operand.EXEC_CONTROLS)
    walk = params.eptp_controls >> 3
    if params.eptp_controls & 7 != 6 or walk not in (3, 4) or (params.config_flags & 1 and walk != 4):
        raise Refused(Status.OPERAND_INVALID | Operand.EPTP_CONTROLS)
    if not layout.TSC_MIN <= params.tsc_frequency <= layout.TSC_MAX:
        raise Refused(Status.OPERAND_INVALID | Operand.TSC_FREQUENCY)
    reserved = any(data[layout.RESERVED_1]) or any(data[layout.RESERVED_2])
    if reserved or params.msr_config_ctls & ~layout.MSR_CONFIG_ARCH_CAP:
        raise Refused(Status.OPERAND_INVALID | Operand.RDX)


def attributes_allowed(attributes: int) -> bool:
    """Whether the module knows every set bit, and a TD that can migrate is neither DEBUG nor PERFMON."""
    if attributes & ~layout.ATTRIBUTES_ALLOWED:
        return False
    migratable = bool(attributes & layout.ATTRIBUTES_MIGRATABLE)
    return not (migratable and attributes & (layout.ATTRIBUTES_DEBUG | layout.ATTRIBUTES_PERFMON))


def xfam_allowed(xfam: int) -> bool:
    """Whether the extended features are known, and whole: AVX-512 with AVX, CET, AMX each as one."""
    if xfam & ~layout.XFAM_ALLOWED or xfam & layout.XFAM_FORCED != layout.XFAM_FORCED:
        return False
    if xfam & layout.XFAM_AVX512 and not xfam & layout.XFAM_AVX:
        return False
    groups = (layout.XFAM_AVX512, layout.XFAM_CET, layout.XFAM_AMX)
    return all(xfam & group in (0, group) for group in groups)


def _check_cpuid(data: bytes, signature: int) -> bool:
    """The CPUID configuration: refuses a foreign processor signature; True where anything is virtualized."""
    config = data[layout.CPUID_CONFIG]
    eax = int.from_bytes(config[:4], "little")
    if eax not in (0, signature):
        raise Refused(Status.OPERAND_INVALID | Operand.CPUID_CONFIG, rcx=_CPUID_SIGNATURE)
    if any(data[layout.RESERVED_3]):
        raise Refused(Status.OPERAND_INVALID | Operand.RDX)
    return any(config[4:])


def _check_arch_capabilities(data: bytes) -> None:
    """IA32_ARCH_CAPABILITIES: only where it is asked for, and only its configurable bits."""
    config = int.from_bytes(data[layout.ARCH_CAPABILITIES], "little")
    allowed = layout.ARCH_CAPABILITIES_CONFIGURABLE if data[layout.MSR_CONFIG_CTLS] else 0
    if config & ~allowed:
        raise Refused(Status.OPERAND_INVALID | Operand.IA32_ARCH_CAPABILITIES_CONFIG)


def mng_vpflushdone(m: Machine, call: Call) -> None:
    """MNG.VPFLUSHDONE: no vCPU is bound any more; from here on the TD only goes away."""
    tdr: Tdr = call.tdr
    m.busy(Operand.KOT, "KOT")
    if tdr.lifecycle not in (LifeCycle.KEYS_CONFIGURED, LifeCycle.HKID_ASSIGNED):
        raise Refused(Status.LIFECYCLE_STATE_INCORRECT)
    if tdr.tdcs.num_assoc_vcpus:
        raise Refused(Status.FLUSHVP_NOT_DONE)
    m.kot[tdr.hkid].wbinvd_bitmap = (1 << m.config.packages) - 1
    m.kot[tdr.hkid].state = KeyState.FLUSHED
    tdr.lifecycle = LifeCycle.BLOCKED


def mng_key_freeid(m: Machine, call: Call) -> None:
    """MNG.KEY.FREEID: caches are clean, so the KeyID may serve another TD."""
    tdr: Tdr = call.tdr
    if tdr.lifecycle is not LifeCycle.BLOCKED:
        raise Refused(Status.LIFECYCLE_STATE_INCORRECT)
    m.busy(Operand.KOT, "KOT")
    if m.kot[tdr.hkid].wbinvd_bitmap:
        raise Refused(Status.WBCACHE_NOT_COMPLETE)
    m.kot[tdr.hkid].state = KeyState.FREE
    tdr.lifecycle = LifeCycle.TEARDOWN


def mng_rd(_: Machine, call: Call) -> None:
    """MNG.RD: one TD-scope metadata field, named by RDX; version 1 also gives the next one in RDX."""
    tdcs = call.tdcs
    reader = Accessor.DEBUGGER if tdcs.debug else Accessor.HOST
    field = readable_field(TD_FIELDS, call.rdx, reader)
    if call.version:
        call.out["rdx"] = next_field(field, reader)
    call.out["r8"] = td_value(tdcs, call.rdx)


def mng_wr(_: Machine, call: Call) -> None:
    """MNG.WR: the fields that are modelled are never writable by the host."""
    call.out["r8"] = 0
    find_field(TD_FIELDS, call.rdx)
    raise Refused(Status.METADATA_FIELD_NOT_WRITABLE)


def key_reclaimid(_: Machine, __: Call) -> None:
    """MNG.KEY.RECLAIMID: kept for compatibility, does nothing."""


def cache_wb(m: Machine, call: Call) -> None:
    """PHYMEM.CACHE.WB: RCX 0 starts, 1 resumes; an interrupt can come after each part of the cache."""
    if call.rcx > 1:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
    package = call.lp.package
    m.busy(Operand.WBCACHE, "WBCACHE", package)
    m.busy(Operand.KOT, "KOT")
    if call.rcx == 0:
        waiting = {keyid for keyid, entry in m.kot.items() if entry.state is KeyState.FLUSHED}
        if not waiting:
            raise Refused(Status.NO_HKID_READY_TO_WBCACHE)
        block = 0
    else:
        block, waiting = m.writeback.get(package, (0, set()))
        if block == 0:
            raise Refused(Status.WBCACHE_RESUME_ERROR)
    while True:
        block += 1
        if block >= m.config.cache_sub_blocks:
            break
        if call.lp.interrupt:
            call.lp.interrupt = False
            m.writeback[package] = (block, waiting)
            raise Refused(Status.INTERRUPTED_RESUMABLE)
    m.writeback.pop(package, None)
    for keyid in waiting:
        m.kot[keyid].wbinvd_bitmap &= ~(1 << package)


def page_reclaim(m: Machine, call: Call) -> None:
    """PHYMEM.PAGE.RECLAIM: take back a page of a TD in teardown; the TDR goes last."""
    if call.rcx & 0xFFF or call.rcx >> m.hkid_shift:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
    pfn = call.rcx >> 12
    if not m.pamt.covered(pfn):
        raise Refused(Status.OPERAND_ADDR_RANGE_ERROR | Operand.RCX)
    entry, level = m.pamt.find(pfn)
    m.busy_page(pfn, level, Operand.RCX, exclusive=True)
    if entry is None or entry.type is PageType.NDA:
        raise Refused(Status.PAGE_METADATA_INCORRECT | Operand.RCX)
    about = {"rcx": int(entry.type), "rdx": entry.owner << 12, "r8": level}
    if pfn & (1 << 9 * level) - 1:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX, **about)
    is_root = entry.type is PageType.TDR
    tdr = m.tdrs[pfn if is_root else entry.owner]
    if not is_root:
        m.busy(Operand.TDR, "PAGE", tdr.pfn, exclusive=False)
    if tdr.lifecycle is not LifeCycle.TEARDOWN:
        raise Refused(Status.LIFECYCLE_STATE_INCORRECT, **about)
    if is_root and tdr.children:
        raise Refused(Status.TD_ASSOCIATED_PAGES_EXIST, **about)
    if is_root:
        del m.tdrs[pfn]
    else:
        tdr.children -= 1 << 9 * level
        m.vps.pop(pfn, None)
    m.pamt.release(pfn, level)
    m.tainted.discard(pfn)
    call.out.update(about)


def page_rdmd(m: Machine, call: Call) -> None:
    """PHYMEM.PAGE.RDMD: what the PAMT says of a page: type, owner, size, block epoch.

    A page that was freed still shows its last owner; the epoch is shown for pages that can be blocked.
    """
    if call.rcx & 0xFFF or call.rcx >> m.hkid_shift:
        raise Refused(Status.OPERAND_INVALID | Operand.RCX)
    pfn = call.rcx >> 12
    if not m.pamt.covered(pfn):
        raise Refused(Status.OPERAND_ADDR_RANGE_ERROR | Operand.RCX)
    entry, level = m.pamt.find(pfn)
    m.busy_page(pfn, level, Operand.RCX, exclusive=False)
    if entry is None:
        call.out.update(rcx=int(m.pamt.type_of(pfn)), rdx=0, r8=0, r9=0)
        return
    bepoch = entry.bepoch if entry.type in (PageType.REG, PageType.EPT) else 0
    call.out.update(rcx=int(entry.type), rdx=entry.owner << 12, r8=level, r9=bepoch)


def page_wbinvd(m: Machine, call: Call) -> None:
    """PHYMEM.PAGE.WBINVD: flush a free page's lines; the KeyID bits of RCX are ignored by the checks."""
    address = call.rcx & m.pa_mask | call.rcx >> m.config.max_pa << m.config.max_pa
    m.page(address, Operand.RCX, PageType.NDA, exclusive=False)


HANDLERS: dict[str, Callable[[Machine, Call], None]] = {
    "TDH.MNG.CREATE": mng_create,
    "TDH.MNG.KEY.CONFIG": mng_key_config,
    "TDH.MNG.ADDCX": mng_addcx,
    "TDH.MNG.INIT": mng_init,
    "TDH.MNG.VPFLUSHDONE": mng_vpflushdone,
    "TDH.MNG.KEY.FREEID": mng_key_freeid,
    "TDH.MNG.KEY.RECLAIMID": key_reclaimid,
    "TDH.MNG.RD": mng_rd,
    "TDH.MNG.WR": mng_wr,
    "TDH.PHYMEM.CACHE.WB": cache_wb,
    "TDH.PHYMEM.PAGE.RECLAIM": page_reclaim,
    "TDH.PHYMEM.PAGE.RDMD": page_rdmd,
    "TDH.PHYMEM.PAGE.WBINVD": page_wbinvd,
}
