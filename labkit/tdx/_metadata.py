"""Metadata fields: what SYS.RD, MNG.RD, VP.RD, VM.RD and their writing counterparts reach.

Identifiers, order and access rights are facts of ``include/auto_gen/*_fields_lookup.c`` in
intel/tdx-module, branch ``tdx_1.5``, as far as the model has the fields. An identifier is looked up by its
class (bits 61:56) and field code (bits 23:0); the size that it also tells is ignored, and most other bits
must be zero.

A field that the real module has and this table has not is ``NotModelled``, and so is the next field where
the table does not know which one follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING

from labkit.errors import NotModelled
from labkit.tdx._machine import Refused
from labkit.tdx.objects import MIN_TDCX, TDVPS_PAGES
from labkit.tdx.params import (
    ATTRIBUTES_ALLOWED,
    BUILD_DATE,
    MAX_RESERVED,
    MAX_TDMRS,
    NUM_CPUID_CONFIG,
    XFAM_ALLOWED,
    XFAM_FORCED,
)
from labkit.tdx.phys import PAGE
from labkit.tdx.status import Status

if TYPE_CHECKING:
    from labkit.tdx._machine import Machine
    from labkit.tdx.objects import Tdcs

NO_FIELD = (1 << 64) - 1
TD_CTLS_PENDING_VE_DISABLE = 1 << 0
TD_CONFIG_FLAGS = 0x1110000300000016
TD_CTLS = 0x1110000300000017
VP_GPR = 0x1000000300000000

_CLASS = 0x3F << 56
_CODE = 0xFFFFFF
# Bits that the identifier of a single element must leave zero: reserved ones, last element, last field.
_MUST_BE_ZERO = 0xFF << 24 | 0xF << 34 | 0x1FF << 38 | 0x7 << 47 | 1 << 55 | 1 << 62


class Accessor(IntFlag):
    """Who asks: the host of a production TD, the host of a debug TD, the guest."""

    HOST = 1
    DEBUGGER = 2
    GUEST = 4


_ANYBODY = Accessor.HOST | Accessor.DEBUGGER | Accessor.GUEST
_ANY_HOST = Accessor.HOST | Accessor.DEBUGGER


@dataclass(frozen=True)
class Field:
    """One field: identifier, who may read it, and what follows it for each reader (None: not known)."""

    identifier: int
    readers: Accessor
    following: Mapping[Accessor, int]


def _chain(fields: Sequence[tuple[int, Accessor]], last: Mapping[Accessor, int]) -> dict[int, Field]:
    """Fields in the order of the module's table: each is followed by the next that its reader may read."""
    table = {}
    following = dict(last)
    for identifier, readers in reversed(fields):
        table[_key(identifier)] = Field(identifier, readers, dict(following))
        for reader in Accessor:
            if readers & reader:
                following[reader] = identifier
    return table


def _key(identifier: int) -> int:
    return identifier & (_CLASS | _CODE)


# The module's own fields in its order: identifier, how many in a row, h for the host or g for guests too.
# The rows are those of tdx_1.5 as a whole; a few came after 1.5.01.
_SYS = """
0x0000000200000000  1 h  NUM_PKGS
0x0000000200000001  8 h  PKG_FMS
0x0800000200000000  1 g  VENDOR_ID
0x8800000200000001  1 h  BUILD_DATE
0x8800000100000002  1 h  BUILD_NUM
0x0800000100000003  1 g  MINOR_VERSION
0x0800000100000004  1 g  MAJOR_VERSION
0x0800000100000005  1 h  UPDATE_VERSION
0x0800000100000006  1 h  INTERNAL_VERSION
0x8900000100000000  1 h  MODULE_HV
0x8900000100000001  1 h  MIN_UPDATE_HV
0x8900000000000002  1 h  NO_DOWNGRADE
0x8900000100000003  1 h  NUM_HANDOFF_PAGES
0x8900000000000004  1 h  HANDOFF_DATA_VALID
0x8900000100000005  1 h  HANDOFF_DATA_HV
0x8900000200000006  1 h  HANDOFF_DATA_SIZE
0x0A00000200000000  1 g  SYS_ATTRIBUTES
0x0A00000000000001  1 g  NUM_TDX_FEATURES
0x0A00000300000008  1 g  TDX_FEATURES0
0x9000000100000000  1 h  NUM_CMRS
0x9000000300000080 32 h  CMR_BASE
0x9000000300000100 32 h  CMR_SIZE
0x9100000100000008  1 h  MAX_TDMRS
0x9100000100000009  1 h  MAX_RESERVED_PER_TDMR
0x9100000100000010  1 h  PAMT_4K_ENTRY_SIZE
0x9100000100000011  1 h  PAMT_2M_ENTRY_SIZE
0x9100000100000012  1 h  PAMT_1G_ENTRY_SIZE
0x9800000100000000  1 h  TDR_BASE_SIZE
0x9800000100000100  1 h  TDCS_BASE_SIZE
0x9800000100000101  1 h  TDCS_SIZE_PER_L2_VM
0x9800000100000200  1 h  TDVPS_BASE_SIZE
0x9800000100000201  1 h  TDVPS_SIZE_PER_L2_VM
0x1900000300000000  1 h  ATTRIBUTES_FIXED0
0x1900000300000001  1 h  ATTRIBUTES_FIXED1
0x1900000300000002  1 h  XFAM_FIXED0
0x1900000300000003  1 h  XFAM_FIXED1
0x9900000100000004  1 h  NUM_CPUID_CONFIG
"""


def _sys_rows() -> list[tuple[int, Accessor, str, int]]:
    rows = []
    for line in _SYS.split("\n")[1:-1]:
        identifier, count, who, name = line.split()
        readers = _ANYBODY if who == "g" else _ANY_HOST
        rows += [(int(identifier, 16) + i, readers, name, i) for i in range(int(count))]
    return rows


_SYS_ROWS = _sys_rows()
SYS_FIELDS = _chain([(identifier, readers) for identifier, readers, _, _ in _SYS_ROWS], {})
_SYS_NAMES = {_key(identifier): (name, index) for identifier, _, name, index in _SYS_ROWS}
_SYS_VALUES = {
    "VENDOR_ID": 0x8086,
    "BUILD_DATE": BUILD_DATE,
    "BUILD_NUM": 0,
    "MINOR_VERSION": 5,
    "MAJOR_VERSION": 1,
    "MAX_TDMRS": MAX_TDMRS,
    "MAX_RESERVED_PER_TDMR": MAX_RESERVED,
    "PAMT_4K_ENTRY_SIZE": 16,
    "PAMT_2M_ENTRY_SIZE": 16,
    "PAMT_1G_ENTRY_SIZE": 16,
    "TDR_BASE_SIZE": PAGE,
    "TDCS_BASE_SIZE": MIN_TDCX * PAGE,
    "TDCS_SIZE_PER_L2_VM": PAGE,
    "TDVPS_BASE_SIZE": TDVPS_PAGES * PAGE,
    "TDVPS_SIZE_PER_L2_VM": 3 * PAGE,
    "ATTRIBUTES_FIXED0": ATTRIBUTES_ALLOWED,
    "ATTRIBUTES_FIXED1": 0,
    "XFAM_FIXED0": XFAM_ALLOWED,
    "XFAM_FIXED1": XFAM_FORCED,
    "NUM_CPUID_CONFIG": NUM_CPUID_CONFIG,
}

TD_FIELDS = _chain(
    [
        (TD_CONFIG_FLAGS, _ANYBODY),
        (TD_CTLS, Accessor.DEBUGGER | Accessor.GUEST),
    ],
    {Accessor.HOST: 0x9110000200000800},  # TD_EPOCH
)
# The general registers by number; RSP lies in the VMCS and is not reached this way.
VP_FIELDS = _chain(
    [(VP_GPR + number, Accessor.DEBUGGER if number != 4 else Accessor(0)) for number in range(16)], {}
)


def sys_value(m: Machine, identifier: int) -> int:
    """The value of one of the module's own fields.

    Raises:
        NotModelled: a field without a value in the model.
    """
    name, index = _SYS_NAMES[_key(identifier)]
    config = m.config
    if name == "NUM_PKGS":
        return config.packages
    if name == "PKG_FMS":
        return config.cpu_signature if index < config.packages else 0
    if name == "NUM_CMRS":
        return len(config.cmrs)
    if name in ("CMR_BASE", "CMR_SIZE"):
        return config.cmrs[index][name == "CMR_SIZE"] if index < len(config.cmrs) else 0
    if name not in _SYS_VALUES:
        raise _not_modelled(identifier)
    return _SYS_VALUES[name]


def same_field(one: int, two: int) -> bool:
    """Whether two identifiers name the same field, whatever size they tell."""
    return _key(one) == _key(two)


def td_value(tdcs: Tdcs, identifier: int) -> int:
    """The value of one of a TD's fields."""
    if same_field(identifier, TD_CONFIG_FLAGS):
        return tdcs.params.config_flags
    return TD_CTLS_PENDING_VE_DISABLE if tdcs.pending_ve_disable else 0


def _not_modelled(identifier: int) -> NotModelled:
    return NotModelled(f"The metadata field {identifier:#x} is not modelled.", "See docs/tdx-model.md.")


def find_field(table: Mapping[int, Field], identifier: int) -> Field:
    """The field of an identifier.

    Raises:
        Refused: METADATA_FIELD_ID_INCORRECT: not well formed, or of class 0, which no TD field has.
        NotModelled: no field of the table.
    """
    if identifier & _MUST_BE_ZERO:
        raise Refused(Status.METADATA_FIELD_ID_INCORRECT)
    field = table.get(_key(identifier))
    if field is not None:
        return field
    if table is TD_FIELDS and not identifier & _CLASS:
        raise Refused(Status.METADATA_FIELD_ID_INCORRECT)
    raise _not_modelled(identifier)


def readable_field(table: Mapping[int, Field], identifier: int, reader: Accessor) -> Field:
    """The field of an identifier, which the reader may read.

    Raises:
        Refused: METADATA_FIELD_NOT_READABLE; see also find_field.
    """
    field = find_field(table, identifier)
    if not field.readers & reader:
        raise Refused(Status.METADATA_FIELD_NOT_READABLE)
    return field


def next_field(field: Field, reader: Accessor) -> int:
    """The identifier of the field after one, among those that the reader may read.

    Raises:
        NotModelled: the table does not know it.
    """
    following = field.following.get(reader)
    if following is None:
        raise NotModelled(
            f"The metadata field after {field.identifier:#x} is not modelled.", "See docs/tdx-model.md."
        )
    return following


def write_masked(old: int, value: int, mask: int, writable: int) -> int:
    """The new value of a field after a write of the bits of a mask.

    Raises:
        Refused: none of these bits can be written, or one that cannot would change.
    """
    if not mask & writable:
        raise Refused(Status.METADATA_FIELD_NOT_WRITABLE)
    if (old ^ value) & mask & ~writable:
        raise Refused(Status.METADATA_FIELD_VALUE_NOT_VALID)
    return old & ~mask | value & mask
