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
XFAM_ALLOWED = 0x6DBE7
CONFIG_GPAW = 1 << 0
CONFIG_FLEXIBLE_PENDING_VE = 1 << 1
CONFIG_NO_RBP_MOD = 1 << 2
CONFIG_ALLOWED = CONFIG_GPAW | CONFIG_FLEXIBLE_PENDING_VE | CONFIG_NO_RBP_MOD
TSC_MIN, TSC_MAX = 4, 400
MAX_VCPUS = 576
MAX_TDMRS = 64
MAX_RESERVED = 16

_PARAMS = struct.Struct("<QQHBB4sQQH38s48s48s48sQ24s768s")
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
    reserved: bytes = bytes(4)

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
            0,
            self.reserved,
            self.eptp_controls,
            self.config_flags,
            self.tsc_frequency,
            bytes(38),
            self.mrconfigid,
            self.mrowner,
            self.mrownerconfig,
            0,
            bytes(24),
            bytes(768),
        )

    @classmethod
    def unpack(cls, data: bytes) -> tuple[TdParams, bool, bool]:
        """Read 1,024 bytes; also: whether all reserved bytes are zero, whether CPUID is left alone."""
        fields = _PARAMS.unpack(data)
        params = cls(
            attributes=fields[0],
            xfam=fields[1],
            max_vcpus=fields[2],
            num_l2_vms=fields[3],
            reserved=fields[5],
            eptp_controls=fields[6],
            config_flags=fields[7],
            tsc_frequency=fields[8],
            mrconfigid=fields[10],
            mrowner=fields[11],
            mrownerconfig=fields[12],
        )
        clean = not (any(fields[5]) or any(fields[9]) or any(fields[14]))
        return params, clean, not (any(fields[15]) or fields[13] or fields[4])


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


def tdsysinfo(build: int = 0) -> bytes:
    """TDSYSINFO_STRUCT (1,024 bytes) as SYS.INFO returns it."""
    data = bytearray(1024)
    struct.pack_into("<IIIHHH", data, 0, 0, 0x8086, 20240222, build, 5, 1)
    struct.pack_into("<HHH", data, 32, MAX_TDMRS, MAX_RESERVED, 16)
    struct.pack_into("<H", data, 48, 6 * 4096)
    struct.pack_into("<H", data, 52, 6 * 4096)
    struct.pack_into("<QQQQ", data, 64, ATTRIBUTES_ALLOWED, 0, XFAM_ALLOWED, XFAM_FORCED)
    return bytes(data)
