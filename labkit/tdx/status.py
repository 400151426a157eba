"""Status codes of the TDX module: their numbers, how a 64-bit answer is taken apart, what they mean.

Numbers and names are facts of ``include/auto_gen/tdx_error_codes_defs.h`` in intel/tdx-module, branch
``tdx_1.5``, commit 72d8cffb ("TDX 1.5.01", MIT, Copyright (C) 2023 Intel Corporation); the groups and the
explanations are labkit's. Newer modules add codes.

Bits of an answer: 63 error, 62 non-recoverable, 61 fatal, 60 hint that the host may recover, 47:40 class,
39:32 detail, 31:0 operand id or second detail. Compare the upper half only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Status(IntEnum):
    """A status code without its lower 32 bits; the prefix ``TDX_`` of the header is left off."""

    # class 0x00: general and TD exits
    SUCCESS = 0x00000000_00000000
    NON_RECOVERABLE_VCPU = 0x40000001_00000000
    NON_RECOVERABLE_TD = 0x60000002_00000000
    INTERRUPTED_RESUMABLE = 0x80000003_00000000
    INTERRUPTED_RESTARTABLE = 0x80000004_00000000
    NON_RECOVERABLE_TD_NON_ACCESSIBLE = 0x60000005_00000000
    INVALID_RESUMPTION = 0xC0000006_00000000
    NON_RECOVERABLE_TD_WRONG_APIC_MODE = 0xE0000007_00000000
    CROSS_TD_FAULT = 0x80000008_00000000
    CROSS_TD_TRAP = 0x90000009_00000000
    NON_RECOVERABLE_TD_CORRUPTED_MD = 0x6000000A_00000000

    # class 0x01: operands
    OPERAND_INVALID = 0xC0000100_00000000
    OPERAND_ADDR_RANGE_ERROR = 0xC0000101_00000000

    # class 0x02: busy
    OPERAND_BUSY = 0x80000200_00000000
    PREVIOUS_TLB_EPOCH_BUSY = 0x80000201_00000000
    SYS_BUSY = 0x80000202_00000000
    RND_NO_ENTROPY = 0x80000203_00000000
    OPERAND_BUSY_HOST_PRIORITY = 0x80000204_00000000
    HOST_PRIORITY_BUSY_TIMEOUT = 0x90000205_00000000

    # class 0x03: page metadata (PAMT)
    PAGE_METADATA_INCORRECT = 0xC0000300_00000000
    PAGE_ALREADY_FREE = 0x00000301_00000000
    PAGE_NOT_OWNED_BY_TD = 0xC0000302_00000000
    PAGE_NOT_FREE = 0xC0000303_00000000

    # class 0x04: dependent pages
    TD_ASSOCIATED_PAGES_EXIST = 0xC0000400_00000000

    # class 0x05: module life cycle
    SYS_INIT_NOT_PENDING = 0xC0000500_00000000
    SYS_LP_INIT_NOT_DONE = 0xC0000502_00000000
    SYS_LP_INIT_DONE = 0xC0000503_00000000
    SYS_NOT_READY = 0xC0000505_00000000
    SYS_SHUTDOWN = 0xC0000506_00000000
    SYS_KEY_CONFIG_NOT_PENDING = 0xC0000507_00000000
    SYS_STATE_INCORRECT = 0xC0000508_00000000
    SYS_INVALID_HANDOFF = 0xC0000509_00000000
    SYS_INCOMPATIBLE_SIGSTRUCT = 0xC000050A_00000000
    SYS_LP_INIT_NOT_PENDING = 0xC000050B_00000000
    SYS_CONFIG_NOT_PENDING = 0xC000050C_00000000
    INCOMPATIBLE_SEAM_CAPABILITIES = 0xC000050D_00000000

    # class 0x06: TD life cycle
    TD_FATAL = 0xE0000604_00000000
    TD_NON_DEBUG = 0xC0000605_00000000
    TDCS_NOT_ALLOCATED = 0xC0000606_00000000
    LIFECYCLE_STATE_INCORRECT = 0xC0000607_00000000
    OP_STATE_INCORRECT = 0xC0000608_00000000
    NO_VCPUS = 0xC0000609_00000000
    TDCX_NUM_INCORRECT = 0xC0000610_00000000

    # class 0x07: vCPU
    VCPU_STATE_INCORRECT = 0xC0000700_00000000
    VCPU_ASSOCIATED = 0x80000701_00000000
    VCPU_NOT_ASSOCIATED = 0x80000702_00000000
    NO_VALID_VE_INFO = 0xC0000704_00000000
    MAX_VCPUS_EXCEEDED = 0xC0000705_00000000
    TSC_ROLLBACK = 0xC0000706_00000000
    TD_VMCS_FIELD_NOT_INITIALIZED = 0xC0000730_00000000
    TD_VMCS_FIELD_ERROR = 0xC0000731_00000000

    # class 0x08: keys and KeyIDs
    KEY_GENERATION_FAILED = 0x80000800_00000000
    TD_KEYS_NOT_CONFIGURED = 0x80000810_00000000
    KEY_STATE_INCORRECT = 0xC0000811_00000000
    KEY_CONFIGURED = 0x00000815_00000000
    WBCACHE_NOT_COMPLETE = 0x80000817_00000000
    HKID_NOT_FREE = 0xC0000820_00000000
    NO_HKID_READY_TO_WBCACHE = 0x00000821_00000000
    WBCACHE_RESUME_ERROR = 0xC0000823_00000000
    FLUSHVP_NOT_DONE = 0x80000824_00000000
    NUM_ACTIVATED_HKIDS_NOT_SUPPORTED = 0xC0000825_00000000

    # class 0x09: CPUID, SMRR and MSR checks of SYS.INIT
    INCORRECT_CPUID_VALUE = 0xC0000900_00000000
    LIMIT_CPUID_MAXVAL_SET = 0xC0000901_00000000
    INCONSISTENT_CPUID_FIELD = 0xC0000902_00000000
    CPUID_MAX_SUBLEAVES_UNRECOGNIZED = 0xC0000903_00000000
    CPUID_LEAF_1F_FORMAT_UNRECOGNIZED = 0xC0000904_00000000
    INVALID_WBINVD_SCOPE = 0xC0000905_00000000
    INVALID_PKG_ID = 0xC0000906_00000000
    ENABLE_MONITOR_FSM_NOT_SET = 0xC0000907_00000000
    CPUID_LEAF_NOT_SUPPORTED = 0xC0000908_00000000
    SMRR_NOT_LOCKED = 0xC0000910_00000000
    INVALID_SMRR_CONFIGURATION = 0xC0000911_00000000
    SMRR_OVERLAPS_CMR = 0xC0000912_00000000
    SMRR_LOCK_NOT_SUPPORTED = 0xC0000913_00000000
    SMRR_NOT_SUPPORTED = 0xC0000914_00000000
    INCONSISTENT_MSR = 0xC0000920_00000000
    INCORRECT_MSR_VALUE = 0xC0000921_00000000
    SEAMREPORT_NOT_AVAILABLE = 0xC0000930_00000000
    SEAMDB_GETREF_NOT_AVAILABLE = 0xC0000931_00000000
    SEAMDB_REPORT_NOT_AVAILABLE = 0xC0000932_00000000
    SEAMVERIFYREPORT_NOT_AVAILABLE = 0xC0000933_00000000

    # class 0x0a: TDMR and PAMT ranges
    INVALID_TDMR = 0xC0000A00_00000000
    NON_ORDERED_TDMR = 0xC0000A01_00000000
    TDMR_OUTSIDE_CMRS = 0xC0000A02_00000000
    TDMR_ALREADY_INITIALIZED = 0x00000A03_00000000
    INVALID_PAMT = 0xC0000A10_00000000
    PAMT_OUTSIDE_CMRS = 0xC0000A11_00000000
    PAMT_OVERLAP = 0xC0000A12_00000000
    INVALID_RESERVED_IN_TDMR = 0xC0000A20_00000000
    NON_ORDERED_RESERVED_IN_TDMR = 0xC0000A21_00000000
    CMR_LIST_INVALID = 0xC0000A22_00000000

    # class 0x0b: Secure EPT
    EPT_WALK_FAILED = 0xC0000B00_00000000
    EPT_ENTRY_FREE = 0xC0000B01_00000000
    EPT_ENTRY_NOT_FREE = 0xC0000B02_00000000
    EPT_ENTRY_NOT_PRESENT = 0xC0000B03_00000000
    EPT_ENTRY_NOT_LEAF = 0xC0000B04_00000000
    EPT_ENTRY_LEAF = 0xC0000B05_00000000
    GPA_RANGE_NOT_BLOCKED = 0xC0000B06_00000000
    GPA_RANGE_ALREADY_BLOCKED = 0x00000B07_00000000
    TLB_TRACKING_NOT_DONE = 0xC0000B08_00000000
    EPT_INVALID_PROMOTE_CONDITIONS = 0xC0000B09_00000000
    PAGE_ALREADY_ACCEPTED = 0x00000B0A_00000000
    PAGE_SIZE_MISMATCH = 0xC0000B0B_00000000
    GPA_RANGE_BLOCKED = 0xC0000B0C_00000000
    EPT_ENTRY_STATE_INCORRECT = 0xC0000B0D_00000000
    EPT_PAGE_NOT_FREE = 0xC0000B0E_00000000
    L2_SEPT_WALK_FAILED = 0xC0000B0F_00000000
    L2_SEPT_ENTRY_NOT_FREE = 0xC0000B10_00000000
    PAGE_ATTR_INVALID = 0xC0000B11_00000000
    L2_SEPT_PAGE_NOT_PROVIDED = 0xC0000B12_00000000

    # class 0x0c: metadata fields
    METADATA_FIELD_ID_INCORRECT = 0xC0000C00_00000000
    METADATA_FIELD_NOT_WRITABLE = 0xC0000C01_00000000
    METADATA_FIELD_NOT_READABLE = 0xC0000C02_00000000
    METADATA_FIELD_VALUE_NOT_VALID = 0xC0000C03_00000000
    METADATA_LIST_OVERFLOW = 0xC0000C04_00000000
    INVALID_METADATA_LIST_HEADER = 0xC0000C05_00000000
    REQUIRED_METADATA_FIELD_MISSING = 0xC0000C06_00000000
    METADATA_ELEMENT_SIZE_INCORRECT = 0xC0000C07_00000000
    METADATA_LAST_ELEMENT_INCORRECT = 0xC0000C08_00000000
    METADATA_FIELD_CURRENTLY_NOT_WRITABLE = 0xC0000C09_00000000
    METADATA_WR_MASK_NOT_VALID = 0xC0000C0A_00000000
    METADATA_FIRST_FIELD_ID_IN_CONTEXT = 0x00000C0B_00000000
    METADATA_FIELD_SKIP = 0x00000C0C_00000000

    # class 0x0d: service TDs
    SERVTD_ALREADY_BOUND_FOR_TYPE = 0xC0000D00_00000000
    SERVTD_TYPE_MISMATCH = 0xC0000D01_00000000
    SERVTD_ATTR_MISMATCH = 0xC0000D02_00000000
    SERVTD_INFO_HASH_MISMATCH = 0xC0000D03_00000000
    SERVTD_UUID_MISMATCH = 0xC0000D04_00000000
    SERVTD_NOT_BOUND = 0xC0000D05_00000000
    SERVTD_BOUND = 0xC0000D06_00000000
    TARGET_UUID_MISMATCH = 0xC0000D07_00000000
    TARGET_UUID_UPDATED = 0xC0000D08_00000000

    # class 0x0e: migration
    INVALID_MBMD = 0xC0000E00_00000000
    INCORRECT_MBMD_MAC = 0xC0000E01_00000000
    NOT_WRITE_BLOCKED = 0xC0000E02_00000000
    ALREADY_WRITE_BLOCKED = 0x00000E03_00000000
    NOT_EXPORTED = 0xC0000E04_00000000
    MIGRATION_STREAM_STATE_INCORRECT = 0xC0000E05_00000000
    MAX_MIGS_NUM_EXCEEDED = 0xC0000E06_00000000
    EXPORTED_DIRTY_PAGES_REMAIN = 0xC0000E07_00000000
    MIGRATION_DECRYPTION_KEY_NOT_SET = 0xC0000E08_00000000
    TD_NOT_MIGRATABLE = 0xC0000E09_00000000
    PREVIOUS_EXPORT_CLEANUP_INCOMPLETE = 0xC0000E0A_00000000
    NUM_MIGS_HIGHER_THAN_CREATED = 0xC0000E0B_00000000
    IMPORT_MISMATCH = 0xC0000E0C_00000000
    MIGRATION_EPOCH_OVERFLOW = 0xC0000E0D_00000000
    MAX_EXPORTS_EXCEEDED = 0xC0000E0E_00000000
    INVALID_PAGE_MAC = 0xC0000E0F_00000000
    MIGRATED_IN_CURRENT_EPOCH = 0xC0000E10_00000000
    DISALLOWED_IMPORT_OVER_REMOVED = 0xC0000E11_00000000
    SOME_VCPUS_NOT_MIGRATED = 0xC0000E12_00000000
    ALL_VCPUS_IMPORTED = 0xC0000E13_00000000
    MIN_MIGS_NOT_CREATED = 0xC0000E14_00000000
    VCPU_ALREADY_EXPORTED = 0xC0000E15_00000000
    INVALID_MIGRATION_DECRYPTION_KEY = 0xC0000E16_00000000

    # class 0x10: report checking
    INVALID_CPUSVN = 0xC0001000_00000000
    INVALID_REPORTMACSTRUCT = 0xC0001001_00000000

    # class 0x11: TD partitioning
    L2_EXIT_HOST_ROUTED_ASYNC = 0x00001100_00000000
    L2_EXIT_HOST_ROUTED_TDVMCALL = 0x00001101_00000000
    L2_EXIT_PENDING_INTERRUPT = 0x00001102_00000000
    PENDING_INTERRUPT = 0x00001120_00000000
    TD_EXIT_BEFORE_L2_ENTRY = 0x00001140_00000000
    TD_EXIT_ON_L2_VM_EXIT = 0x00001141_00000000
    TD_EXIT_ON_L2_TO_L1 = 0x00001142_00000000
    GLA_NOT_CANONICAL = 0xC0001160_00000000


class Operand(IntEnum):
    """Operand ids: which register, parameter or hidden lock an answer complains about."""

    RAX = 0
    RCX = 1
    RDX = 2
    RBX = 3
    RBP = 5
    RSI = 6
    RDI = 7
    R8 = 8
    R9 = 9
    R10 = 10
    R11 = 11
    R12 = 12
    R13 = 13
    R14 = 14
    R15 = 15
    ATTRIBUTES = 64
    XFAM = 65
    EXEC_CONTROLS = 66
    EPTP_CONTROLS = 67
    MAX_VCPUS = 68
    CPUID_CONFIG = 69
    TSC_FREQUENCY = 70
    NUM_L2_VMS = 71
    IA32_ARCH_CAPABILITIES_CONFIG = 72
    PAGE = 95
    TDMR_INFO_PA = 96
    GPA_LIST_ENTRY = 97
    MIG_BUFF_LIST_ENTRY = 98
    NEW_PAGE_LIST_ENTRY = 99
    TDR = 128
    TDCX = 129
    TDVPR = 130
    REG_PAGE = 132
    TDCS = 144
    TDVPS = 145
    SEPT_TREE = 146
    SEPT_ENTRY = 147
    RTMR = 168
    TD_EPOCH = 169
    L2_VAPIC_GPA = 170
    MIGSC = 171
    OP_STATE = 172
    MIG = 173
    SERVTD_BINDINGS = 174
    METADATA_FIELD = 176
    SYS = 184
    TDMR = 185
    KOT = 186
    KET = 187
    WBCACHE = 188


# What the module means, for the codes this model can raise.
_MEANINGS = {
    Status.SUCCESS: "done",
    Status.NON_RECOVERABLE_VCPU: "TD exit: this vCPU can never run again",
    Status.NON_RECOVERABLE_TD_NON_ACCESSIBLE: "TD exit: a machine check; the TD and its memory are lost",
    Status.INTERRUPTED_RESUMABLE: "an interrupt is pending: call again to continue",
    Status.INTERRUPTED_RESTARTABLE: "an interrupt is pending: call again from the start",
    Status.OPERAND_INVALID: "an operand is not valid",
    Status.OPERAND_ADDR_RANGE_ERROR: "the page lies outside every initialized TDMR",
    Status.OPERAND_BUSY: "another processor holds the lock: retry",
    Status.PREVIOUS_TLB_EPOCH_BUSY: "a vCPU that entered before the last TRACK still runs",
    Status.SYS_BUSY: "another processor is inside a module-wide call: retry",
    Status.RND_NO_ENTROPY: "the random number generator gave nothing: retry",
    Status.PAGE_METADATA_INCORRECT: "the PAMT says the page is in use, or not of the kind the call needs",
    Status.TD_ASSOCIATED_PAGES_EXIST: "the TD still owns pages; its root page goes last",
    Status.SYS_INIT_NOT_PENDING: "the module was initialized before",
    Status.SYS_LP_INIT_NOT_DONE: "this logical processor was not initialized",
    Status.SYS_LP_INIT_DONE: "this logical processor was initialized before",
    Status.SYS_NOT_READY: "the module's start-up is not finished",
    Status.SYS_SHUTDOWN: "the module is shut down",
    Status.SYS_KEY_CONFIG_NOT_PENDING: "not the moment for SYS.KEY.CONFIG",
    Status.INCORRECT_CPUID_VALUE: "the module does not start on this processor: CPUID says something else",
    Status.SYS_STATE_INCORRECT: "the module's state does not allow this now",
    Status.SYS_INVALID_HANDOFF: "no older module left anything to take over",
    Status.SYS_LP_INIT_NOT_PENDING: "not the moment for SYS.LP.INIT",
    Status.SYS_CONFIG_NOT_PENDING: "not the moment for SYS.CONFIG",
    Status.TD_FATAL: "the TD died of a machine check; only teardown is left",
    Status.TD_NON_DEBUG: "only allowed on a TD with the DEBUG attribute",
    Status.TDCS_NOT_ALLOCATED: "the TD has too few control pages (TDCX)",
    Status.LIFECYCLE_STATE_INCORRECT: "the TD's life cycle does not allow this now",
    Status.OP_STATE_INCORRECT: "the TD's operation state does not allow this now",
    Status.NO_VCPUS: "the TD has no initialized vCPU",
    Status.TDCX_NUM_INCORRECT: "wrong number of control pages (TDCX)",
    Status.VCPU_STATE_INCORRECT: "the vCPU's state does not allow this now",
    Status.VCPU_ASSOCIATED: "the vCPU is still bound to another logical processor: flush it there",
    Status.VCPU_NOT_ASSOCIATED: "the vCPU is not bound to this logical processor",
    Status.NO_VALID_VE_INFO: "no #VE is waiting to be read",
    Status.MAX_VCPUS_EXCEEDED: "more vCPUs than TD_PARAMS allows",
    Status.TSC_ROLLBACK: "the time-stamp counter went backwards",
    Status.KEY_GENERATION_FAILED: "no key could be generated: retry",
    Status.TD_KEYS_NOT_CONFIGURED: "the TD's key is not programmed (any more)",
    Status.KEY_CONFIGURED: "the key is already programmed on this package",
    Status.WBCACHE_NOT_COMPLETE: "caches may still hold lines of this KeyID: PHYMEM.CACHE.WB first",
    Status.HKID_NOT_FREE: "this KeyID belongs to a TD",
    Status.NO_HKID_READY_TO_WBCACHE: "no KeyID waits for a cache write-back",
    Status.WBCACHE_RESUME_ERROR: "there is no interrupted write-back to resume",
    Status.FLUSHVP_NOT_DONE: "a vCPU is still bound to a logical processor",
    Status.INVALID_TDMR: "the TDMR is misaligned, empty or out of range",
    Status.NON_ORDERED_TDMR: "TDMRs overlap or do not ascend",
    Status.TDMR_OUTSIDE_CMRS: "the TDMR covers memory that is not convertible",
    Status.TDMR_ALREADY_INITIALIZED: "nothing of this TDMR is left to initialize",
    Status.INVALID_PAMT: "a PAMT area is misaligned or too small",
    Status.PAMT_OUTSIDE_CMRS: "a PAMT area is not in convertible memory",
    Status.PAMT_OVERLAP: "a PAMT area overlaps another, or usable TDMR memory",
    Status.INVALID_RESERVED_IN_TDMR: "a reserved area is misaligned or outside its TDMR",
    Status.NON_ORDERED_RESERVED_IN_TDMR: "reserved areas overlap or do not ascend",
    Status.EPT_WALK_FAILED: "the Secure EPT walk stopped above the wanted level",
    Status.EPT_ENTRY_NOT_PRESENT: "no page is mapped at this address",
    Status.GPA_RANGE_NOT_BLOCKED: "the range must be blocked first",
    Status.GPA_RANGE_ALREADY_BLOCKED: "the range was blocked before",
    Status.TLB_TRACKING_NOT_DONE: "stale translations may still be in use: MEM.TRACK and TD exits first",
    Status.EPT_INVALID_PROMOTE_CONDITIONS: "the 512 small pages do not make one large page",
    Status.PAGE_ALREADY_ACCEPTED: "the guest accepted this page before",
    Status.PAGE_SIZE_MISMATCH: "the page is mapped with another size",
    Status.EPT_ENTRY_STATE_INCORRECT: "the state of the Secure EPT entry does not allow this",
    Status.EPT_PAGE_NOT_FREE: "the Secure EPT page still maps something",
    Status.METADATA_FIELD_ID_INCORRECT: "there is no metadata field of this name here",
    Status.METADATA_FIELD_NOT_READABLE: "this metadata field cannot be read by this caller",
    Status.METADATA_FIELD_NOT_WRITABLE: "this metadata field cannot be written by this caller",
    Status.METADATA_FIELD_VALUE_NOT_VALID: "not a valid value for this metadata field",
    Status.INVALID_REPORTMACSTRUCT: "the report was not made on this platform",
    Status.INVALID_CPUSVN: "the report names another CPU security version",
}

# SEAMCALL itself fails when no module runs (Linux: TDX_SEAMCALL_VMFAILINVALID); not a code of the module.
VMFAIL_INVALID = 0x8000FF00_FFFF0000

_BY_UPPER = {status.value >> 32: status for status in Status}


def meaning(status: Status) -> str:
    """What a code says in plain words; for codes the model never raises, its name in words."""
    return _MEANINGS.get(status) or status.name.lower().replace("_", " ")


@dataclass(frozen=True)
class Decoded:
    """A 64-bit answer taken apart.

    status is None for a value that the tables do not know. detail is the lower half: an operand id, an
    EPT level or an exit reason, by status.
    """

    value: int
    status: Status | None
    detail: int

    @property
    def error(self) -> bool:
        """Bit 63: the call failed."""
        return bool(self.value >> 63)

    @property
    def name(self) -> str:
        """The name without prefix, or what is known about an unknown value."""
        if self.status is None:
            return "SEAMCALL_VMFAIL" if self.value == VMFAIL_INVALID else "UNKNOWN"
        return self.status.name

    @property
    def operand(self) -> str:
        """The lower half as a name where it is an operand id, otherwise empty."""
        if self.status is None or not self.detail:
            return ""
        if self.status in (Status.PAGE_ALREADY_ACCEPTED, Status.PAGE_SIZE_MISMATCH):
            return f"level {self.detail}"
        if self.status.value >> 40 & 0xFF == 0 or (self.status.value >> 32) & 0xFFFFFF in range(
            0x0A00, 0x0A30
        ):
            return ""
        try:
            return Operand(self.detail).name
        except ValueError:
            return str(self.detail)

    @property
    def meaning(self) -> str:
        """What the answer says in plain words."""
        if self.status is None:
            return "no module answered" if self.value == VMFAIL_INVALID else "not a code of the tables"
        return meaning(self.status)

    def __str__(self) -> str:
        operand = f" | {self.operand}" if self.operand else ""
        return f"{self.value:#018x} {self.name}{operand}"


def decode(value: int) -> Decoded:
    """Take a 64-bit answer of the module (RAX) apart."""
    return Decoded(value, _BY_UPPER.get(value >> 32), value & 0xFFFFFFFF)
