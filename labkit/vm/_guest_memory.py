"""The memory of a paused guest, read through QEMU: what stands there, whatever the guest says of it."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from labkit.errors import VmError
from labkit.vm._qmp import Qmp

_PIECE = 64 << 20
_BLOCK = 16 << 10
_LOW_LIMIT, _LOW_END = 0xB000_0000, 0x8000_0000


def low_memory(memory: int) -> int:
    """Where the memory below 4 GiB ends in a machine of QEMU's type q35 with ``memory`` bytes.

    Source: QEMU ``hw/i386/pc_q35.c``: all of it, or 2 GiB if it is 2.75 GiB or more.
    """
    return _LOW_END if memory >= _LOW_LIMIT else memory


def copy_memory(memory: int, target: Path) -> None:
    """Copy the file that is a guest's memory; what is zero there takes no space in the copy.

    Raises:
        OSError: the disk is full.
    """
    size = os.fstat(memory).st_size
    # A new file each time: a machine may still have the memory of an older one mapped.
    target.unlink(missing_ok=True)
    with mmap.mmap(memory, size, access=mmap.ACCESS_READ) as source, target.open("wb") as file:
        target.chmod(0o600)
        file.truncate(size)
        zeros = bytes(_BLOCK)
        for start in _touched(memory):
            if (block := source[start : start + _BLOCK]) != zeros:
                file.seek(start)
                file.write(block)


def _touched(memory: int) -> Iterator[int]:
    """Where the blocks begin that were ever written (lseek(2), SEEK_DATA)."""
    end = 0
    while True:
        try:
            start = os.lseek(memory, end, os.SEEK_DATA)
        except OSError:
            return  # nothing more, or the end of the file
        end = os.lseek(memory, start, os.SEEK_HOLE)
        yield from range(start // _BLOCK * _BLOCK, end, _BLOCK)


class GuestMemory:
    """Physical memory of one guest, as long as it is paused; ``low`` bytes of it lie below 4 GiB.

    What is written there is the guest's: every byte is untrusted.
    """

    def __init__(self, qmp: Qmp, window: int, low: int) -> None:
        """Read through ``qmp``, by way of the file ``window``, which QEMU has open under the same number.

        It is a file in memory: on a disk, removing it would cost more than all the rest.
        """
        self._qmp = qmp
        self._window = window
        self.low = low

    def read(self, start: int, size: int) -> bytes:
        """``size`` bytes from the physical address ``start``.

        Raises:
            VmError: QEMU refuses, or there is no memory there.
        """
        if start < 0 or not 0 < size <= _PIECE:
            raise VmError(f"{size} bytes of guest memory are not read in one piece.")
        words = {"val": start, "size": size, "filename": f"/proc/self/fd/{self._window}"}
        self._qmp.execute("pmemsave", words)
        data = os.pread(self._window, size, 0)
        os.ftruncate(self._window, 0)
        if len(data) != size:
            raise VmError(f"QEMU gave {len(data)} of {size} bytes of guest memory at {start:#x}.")
        return data
