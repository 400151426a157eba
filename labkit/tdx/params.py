"""The structures that host and module exchange in memory: TD_PARAMS, TDMR_INFO, TDSYSINFO.

Layouts: Intel TDX Module ABI specification as read in intel/tdx-module (``td_params_t``,
``tdmr_info_entry_t``, ``tdsysinfo_struct_t``), branch ``tdx_1.5``, commit 72d8cffb. The offsets of
TDSYSINFO_STRUCT were not checked against hardware.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from labkit.errors import UsageError

GIB = 1 << 30
BUILD_DATE = 20240222

ATTRIBUTES_DEBUG = 1 << 0
ATTRIBUTES_SEPT_VE_DISABLE = 1 << 28
ATTRIBUTES_MIGRATABLE = 1 << 29
ATTRIBUTES_PKS = 1 << 30
ATTRIBUTES_PERFMON = 1 << 63
ATTRIBUTES_ALLOWED = (
    ATTRIBUTES_DEBUG
    | ATTRIBUTES_SEPT_VE_DISABLE
    | ATTRIBUTES_MIGRATABLE
    | ATTRIBUTES_PKS
    | ATTRIBUTES_PERFMON
)
XFAM_FORCED = 0x3
XFAM_AVX = 1 << 2
XFAM_AVX512 = 7 << 5
XFAM_CET = 3 << 11
XFAM_AMX = 3 << 17
XFAM_ALLOWED = 0x6DBE7
CONFIG_GPAW = 1 << 0
CONFIG_FLEXIBLE_PENDING_VE = 1 << 1
CONFIG_NO_RBP_MOD = 1 << 2
CONFIG_ALLOWED = CONFIG_GPAW | CONFIG_FLEXIBLE_PENDING_VE | CONFIG_NO_RBP_MOD
TSC_MIN, TSC_MAX = 4, 400
MAX_L2_VMS = 3
MAX_TDMRS = 64
MAX_RESERVED = 16
MAX_CMRS = 32
NUM_CPUID_CONFIG = 12
# IA32_ARCH_CAPABILITIES: SSB_NO, RRSBA, BHI_NO, PBRSB_NO.
ARCH_CAPABILITIES_CONFIGURABLE = 1 << 4 | 1 << 19 | 1 << 20 | 1 << 24

# TD_PARAMS: where its parts without a name lie.
MSR_CONFIG_CTLS = 19
MSR_CONFIG_ARCH_CAP = 1 << 0
RESERVED_0 = slice(20, 24)
RESERVED_1 = slice(42, 80)
ARCH_CAPABILITIES = slice(224, 232)
RESERVED_2 = slice(232, 256)
CPUID_CONFIG = slice(256, 256 + 16 * NUM_CPUID_CONFIG)
RESERVED_3 = slice(256 + 16 * NUM_CPUID_CONFIG, 1024)

_PARAMS = struct.Struct("<QQHBB4xQQH38x48s48s48s800x")
_TDMR = struct.Struct("<8Q")


@dataclass(frozen=True)
class TdParams:
    """TD_PARAMS: what the host asks the module for when it initializes a TD (1,024 bytes).

    attributes, xfam and config_flags are bit masks; eptp_controls holds memory type (6) and walk length - 1;
    tsc_frequency counts 25 MHz; the three measurement fields are 48 bytes each.
    """

    attributes: int = ATTRIBUTES_SEPT_VE_DISABLE
    xfam: int = 0xE7
    max_vcpus: int = 4
    num_l2_vms: int = 0
    eptp_controls: int = 6 | 4 << 3
    config_flags: int = CONFIG_GPAW
    tsc_frequency: int = 40
    mrconfigid: bytes = bytes(48)
    mrowner: bytes = bytes(48)
    mrownerconfig: bytes = bytes(48)
    msr_config_ctls: int = 0

    def pack(self) -> bytes:
        """The 1,024 bytes that MNG.INIT reads."""
        for value in (self.mrconfigid, self.mrowner, self.mrownerconfig):
            if len(value) != 48:
                raise UsageError("A measurement field of TD_PARAMS has 48 bytes.", "Pad it with zeros.")
        return _PARAMS.pack(
            self.attributes,
            self.xfam,
            self.max_vcpus,
            self.num_l2_vms,
            self.msr_config_ctls,
            self.eptp_controls,
            self.config_flags,
            self.tsc_frequency,
            self.mrconfigid,
            self.mrowner,
            self.mrownerconfig,
        )

    @classmethod
    def unpack(cls, data: bytes) -> TdParams:
        """Read the named fields of 1,024 bytes; reserved ones and the CPUID configuration are left out."""
        fields = _PARAMS.unpack(data)
        return cls(
            attributes=fields[0],
            xfam=fields[1],
            max_vcpus=fields[2],
            num_l2_vms=fields[3],
            msr_config_ctls=fields[4],
            eptp_controls=fields[5],
            config_flags=fields[6],
            tsc_frequency=fields[7],
            mrconfigid=fields[8],
            mrowner=fields[9],
            mrownerconfig=fields[10],
        )


@dataclass(frozen=True)
class Tdmr:
    """TDMR_INFO: a range of memory for TDs, where its three PAMT areas lie, and its holes (512 bytes).

    Addresses and sizes in bytes; reserved holds (offset, size) pairs.
    """

    base: int
    size: int
    pamt_1g: tuple[int, int]
    pamt_2m: tuple[int, int]
    pamt_4k: tuple[int, int]
    reserved: tuple[tuple[int, int], ...] = field(default=())

    @property
    def end(self) -> int:
        """The first address behind the range."""
        return self.base + self.size

    def pack(self) -> bytes:
        """The 512 bytes that SYS.CONFIG reads."""
        head = _TDMR.pack(self.base, self.size, *self.pamt_1g, *self.pamt_2m, *self.pamt_4k)
        holes = b"".join(struct.pack("<QQ", *hole) for hole in self.reserved)
        return (head + holes).ljust(512, b"\0")

    @classmethod
    def unpack(cls, data: bytes) -> Tdmr:
        """Read 512 bytes; trailing empty holes are dropped, empty ones in the middle stay."""
        words = _TDMR.unpack(data[:64])
        holes = [struct.unpack_from("<QQ", data, 64 + 16 * i) for i in range(MAX_RESERVED)]
        while holes and holes[-1][1] == 0:
            holes.pop()
        return cls(words[0], words[1], words[2:4], words[4:6], words[6:8], tuple(holes))


def tdsysinfo() -> bytes:
    """TDSYSINFO_STRUCT (1,024 bytes) as SYS.INFO returns it; its CPUID_CONFIG entries are left empty."""
    data = bytearray(1024)
    struct.pack_into("<IIIHHH?", data, 0, 0, 0x8086, BUILD_DATE, 0, 5, 1, True)
    struct.pack_into("<HHH", data, 32, MAX_TDMRS, MAX_RESERVED, 16)
    struct.pack_into("<H", data, 48, 6 * 4096)
    struct.pack_into("<H", data, 52, 6 * 4096)
    struct.pack_into("<QQQQ", data, 64, ATTRIBUTES_ALLOWED, 0, XFAM_ALLOWED, XFAM_FORCED)
    struct.pack_into("<I", data, 124, NUM_CPUID_CONFIG)
    return bytes(data)
