"""The memory of a paused guest, read through QEMU: what stands there, whatever the guest says of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from labkit.errors import VmError
from labkit.vm._qmp import Qmp

_PIECE = 64 << 20
_LOW_LIMIT, _LOW_END = 0xB000_0000, 0x8000_0000


def low_memory(memory: int) -> int:
    """Where the memory below 4 GiB ends in a machine of QEMU's type q35 with ``memory`` bytes.

    Source: QEMU ``hw/i386/pc_q35.c``: all of it, or 2 GiB if it is 2.75 GiB or more.
    """
    return _LOW_END if memory >= _LOW_LIMIT else memory


class GuestMemory:
    """Physical memory of one guest, as long as it is paused; ``low`` bytes of it lie below 4 GiB.

    What is written there is the guest's: every byte is untrusted.
    """

    def __init__(self, qmp: Qmp, work: Path, low: int) -> None:
        """Read through ``qmp``, by way of files in ``work``."""
        self._qmp = qmp
        self._work = work
        self.low = low

    def read(self, start: int, size: int) -> bytes:
        """``size`` bytes from the physical address ``start``.

        Raises:
            VmError: QEMU refuses, or there is no memory there.
        """
        if start < 0 or not 0 < size <= _PIECE:
            raise VmError(f"{size} bytes of guest memory are not read in one piece.")
        with tempfile.NamedTemporaryFile(dir=self._work, prefix="memory-") as file:
            words = {"val": start, "size": size, "filename": file.name}
            self._qmp.execute("pmemsave", words)
            data = Path(file.name).read_bytes()
        if len(data) != size:
            raise VmError(f"QEMU gave {len(data)} of {size} bytes of guest memory at {start:#x}.")
        return data
