"""The ACPI tables that QEMU hands a firmware, asked of a machine that is set up but never runs.

QEMU makes them when the firmware asks for the first time, from what the firmware has programmed by then.
Here the test interface (``qtest``, QEMU ``docs/devel/testing/qtest.rst``) is the firmware: it programs the
same registers and reads the same files from the fw_cfg device (``docs/specs/fw_cfg.rst``).
"""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from labkit.errors import VmError
from labkit.toolchain import Toolchain
from labkit.vm._guard import Guard
from labkit.vm._launch import Launched, launch
from labkit.vm._spec import Accel, BootSpec

# Where edk2's OVMF puts PCI configuration space and the power-management registers of a q35 machine
# (PcdPciExpressBaseAddress; OvmfPkg/Include/IndustryStandard/Q35MchIch9.h). Found equal to a boot of 2025.02.
_PCI_EXPRESS_BASE, _POWER_MANAGEMENT_BASE = 0xE000_0000, 0x600
_ENABLE = 1
_MCH, _LPC = 0x00 << 11, 0x1F << 11

_DIRECTORY = 0x19
_DMA_READ_SELECTED = 8 | 2
# Free memory of the machine, which does not run.
_REQUEST, _BUFFER = 0x10_0000, 0x20_0000
_LARGEST = 16 << 20
_SECONDS = 20.0


def fw_cfg_files(spec: BootSpec, toolchain: Toolchain, names: Sequence[str]) -> tuple[bytes, ...]:
    """What a firmware of edk2 2025 reads under these names when ``spec`` boots; takes about 0.2 s.

    Raises:
        VmError: QEMU has no such file, or does not answer.
        BootFailed: QEMU or its vTPM does not start.
    """
    with tempfile.TemporaryDirectory(prefix="labkit-fwcfg-") as folder, contextlib.ExitStack() as undo:
        guard = Guard(Path(folder) / "machine")
        undo.callback(guard.release)
        mine, other = socket.socketpair()
        undo.enter_context(mine)
        with other:
            machine = launch(spec, Accel.TCG, toolchain, Path(folder), guard, None, test=other.fileno())
        undo.callback(_end, machine, guard)
        mine.settimeout(_SECONDS)
        return _read(_Test(mine, undo.enter_context(mine.makefile("rb"))), names)


def _end(machine: Launched, guard: Guard) -> None:
    guard.release()
    machine.reap()
    machine.close()
    for end in (machine.boot_log, machine.shell, machine.control, machine.devices):
        if end is not None:
            end.close()


def _read(test: _Test, names: Sequence[str]) -> tuple[bytes, ...]:
    test.write_pci(_MCH | 0x60, _PCI_EXPRESS_BASE | _ENABLE)
    test.write_pci(_LPC | 0x40, _POWER_MANAGEMENT_BASE | _ENABLE)
    test.write_pci(_LPC | 0x44, 0x80)
    (count,) = struct.unpack(">I", test.fw_cfg(_DIRECTORY, 4))
    entries = test.fw_cfg(_DIRECTORY, 4 + 64 * count)
    directory = {}
    for number in range(count):
        size, key, name = struct.unpack_from(">IHxx56s", entries, 4 + 64 * number)
        directory[name.rstrip(b"\0").decode("ascii", "replace")] = (key, size)
    missing = [name for name in names if name not in directory]
    if missing:
        raise VmError(f"This QEMU has no {missing[0]} for a firmware.", "Use a QEMU with ACPI tables.")
    return tuple(test.fw_cfg(*directory[name]) for name in names)


class _Test:
    """QEMU's test protocol: a line for each access, answered by ``OK`` and what was read."""

    def __init__(self, end: socket.socket, lines: BinaryIO) -> None:
        self._end = end
        self._lines = lines

    def command(self, words: str) -> str:
        """Give one command and return what follows ``OK``."""
        try:
            self._end.sendall(words.encode() + b"\n")
            answer = self._lines.readline(2 * _LARGEST).decode("ascii", "replace").split()
        except OSError as error:
            raise VmError(f"QEMU's test interface gave no answer: {error}.") from error
        if answer[:1] != ["OK"]:
            raise VmError(f"QEMU's test interface refused {words.split()[0]}.", "Use QEMU 7.2 or later.")
        return " ".join(answer[1:])

    def write_pci(self, address: int, value: int) -> None:
        """Write 32 bits of a device on bus 0; ``address`` is device, function and offset."""
        self.command(f"outl 0xcf8 {1 << 31 | address:#x}")
        self.command(f"outl 0xcfc {value:#x}")

    def fw_cfg(self, key: int, size: int) -> bytes:
        """Read ``size`` bytes from the start of one item, by the device's DMA."""
        if size > _LARGEST:
            raise VmError(f"QEMU offers a file of {size} bytes, far too many for ACPI tables.")
        request = struct.pack(">IIQ", key << 16 | _DMA_READ_SELECTED, size, _BUFFER)
        self.command(f"write {_REQUEST:#x} {len(request)} 0x{request.hex()}")
        self.command("outl 0x514 0")
        # The register is big-endian and the port is not.
        self.command(f"outl 0x518 {int.from_bytes(_REQUEST.to_bytes(4, 'big'), 'little'):#x}")
        if int(self.command(f"read {_REQUEST:#x} 4"), 16) != 0:
            raise VmError(f"QEMU's fw_cfg device refused item {key:#x}.")
        return base64.b64decode(self.command(f"b64read {_BUFFER:#x} {size:#x}"))
