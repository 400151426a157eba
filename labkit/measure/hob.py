"""The TD HOB list: how QEMU tells a TD's firmware which memory there is, as the firmware measures it.

Source: edk2 ``OvmfPkg/Library/PeilessStartupLib`` and QEMU ``hw/i386/tdvf-hob.c``; the result reproduces logs
of real hardware at 2, 8 and 64 GiB. Other clouds build the list by other rules.
"""

from __future__ import annotations

import struct

from labkit.errors import UsageError
from labkit.measure.tdvf import SectionType, Tdvf

_PHIT, _RESOURCE = 1, 3
_SYSTEM_MEMORY, _UNACCEPTED = 0, 7
_ATTRIBUTES = 7
_LOW_END = 0x8000_0000
_FOUR_GIB = 1 << 32
_MAX_MEMORY = 1 << 52
# From this size on QEMU's q35 machine keeps only 2 GiB below 4 GiB.
SPLIT_FROM = 0xB000_0000


def low_memory(memory: int) -> int:
    """Bytes of memory below 4 GiB on QEMU's q35 machine (``hw/i386/pc_q35.c``)."""
    return _LOW_END if memory >= SPLIT_FROM else memory


def td_hob_list(tdvf: Tdvf, memory: int) -> bytes:
    """The bytes of the list that the firmware measures first into RTMR0, for ``memory`` bytes.

    Raises:
        UsageError: the memory does not reach behind the firmware's sections, or needs over 52 address bits.
    """
    scratch = sorted(
        (section.gpa, section.memory_size)
        for section in tdvf.sections
        if section.type in (SectionType.TD_HOB, SectionType.TEMP_MEM)
    )
    if memory > _MAX_MEMORY:
        raise UsageError(
            f"{memory} bytes are more memory than an address can name.", "Give the TD less memory."
        )
    low = low_memory(memory)
    if low <= scratch[-1][0] + scratch[-1][1]:
        raise UsageError(
            f"{memory} bytes of memory do not hold the firmware's own sections.", "Give the TD more memory."
        )
    resources, position = [], 0
    for start, size in scratch:
        if start > position:
            resources.append(_resource(_UNACCEPTED, position, start - position))
        resources.append(_resource(_SYSTEM_MEMORY, start, size))
        position = start + size
    resources.append(_resource(_UNACCEPTED, position, low - position))
    if memory > low:
        resources.append(_resource(_UNACCEPTED, _FOUR_GIB, memory - low))
    body = b"".join(resources)
    base = tdvf.of_type(SectionType.TD_HOB)[0].gpa
    end = base + 56 + len(body) + 8
    return struct.pack("<HHIII5Q", _PHIT, 56, 0, 9, 0, 0, 0, 0, 0, end) + body


def _resource(kind: int, start: int, length: int) -> bytes:
    return struct.pack("<HHI16sIIQQ", _RESOURCE, 48, 0, b"", kind, _ATTRIBUTES, start, length)
