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
from labkit.vm._guard import Guard
from labkit.vm._qmp import Qmp
from labkit.vm.aperture import pci_aperture
from labkit.vm.hypervisor import Hypervisor
from labkit.vm.launch import Launched, launch
from labkit.vm.spec import BootSpec

# Where edk2's OVMF puts PCI configuration space and the power-management registers of a q35 machine
# (PcdPciExpressBaseAddress; OvmfPkg/Include/IndustryStandard/Q35MchIch9.h). Found equal to a boot of 2025.02.
_PCI_EXPRESS_BASE, _POWER_MANAGEMENT_BASE = 0xE000_0000, 0x600
_ENABLE = 1
_MCH, _LPC = 0x00 << 11, 0x1F << 11
# PCI Local Bus Specification 3.0, section 6.2: the header's registers, and the bits of a memory window.
_COMMAND, _WINDOWS, _HEADER_TYPE = 0x04, range(0x10, 0x28, 4), 0x0C
_MEMORY_ENABLE, _MEMORY_64, _TYPE_MASK = 0x2, 0x4, 0x7
_NO_DEVICE = 0xFFFF_FFFF
_MANY_FUNCTIONS = 0x80_0000

_DIRECTORY = 0x19
_DMA_READ_SELECTED = 8 | 2
# Free memory of the machine, which does not run.
_REQUEST, _BUFFER = 0x10_0000, 0x20_0000
_LARGEST = 16 << 20
_SECONDS = 20.0


def fw_cfg_files(spec: BootSpec, hypervisor: Hypervisor, names: Sequence[str]) -> tuple[bytes, ...]:
    """What a firmware of edk2 2025 or later reads under these names when ``spec`` boots; about 0.2 s.

    The CPU of the accelerator stands in the tables; tried with TCG only.

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
            machine = launch(spec, hypervisor, Path(folder), guard, None, test=other.fileno())
        undo.callback(_end, machine, guard)
        mine.settimeout(_SECONDS)
        test = _Test(mine, undo.enter_context(mine.makefile("rb")))
        return _read(test, names, *_cpu(Qmp(machine.control)))


def _end(machine: Launched, guard: Guard) -> None:
    guard.release()
    machine.reap()
    machine.close()
    for end in (machine.boot_log, machine.shell, machine.control, machine.devices):
        if end is not None:
            end.close()


def _cpu(control: Qmp) -> tuple[int, str]:
    """Address bits and vendor of the machine's CPU."""
    control.greet()
    path = control.execute("query-cpus-fast")[0]["qom-path"]
    bits = control.execute("qom-get", {"path": path, "property": "phys-bits"})
    return int(bits), str(control.execute("qom-get", {"path": path, "property": "vendor"}))


def _read(test: _Test, names: Sequence[str], bits: int, vendor: str) -> tuple[bytes, ...]:
    test.write_pci(_MCH | 0x60, _PCI_EXPRESS_BASE | _ENABLE)
    test.write_pci(_LPC | 0x40, _POWER_MANAGEMENT_BASE | _ENABLE)
    test.write_pci(_LPC | 0x44, 0x80)
    directory = _directory(test)
    missing = [name for name in names if name not in directory]
    if missing:
        raise VmError(f"This QEMU has no {missing[0]} for a firmware.", "Use a QEMU with ACPI tables.")
    _place_windows(test, pci_aperture(bits, vendor, test.fw_cfg(*directory["etc/e820"])))
    return tuple(test.fw_cfg(*directory[name]) for name in names)


def _directory(test: _Test) -> dict[str, tuple[int, int]]:
    """Key and size of each file, by name."""
    (count,) = struct.unpack(">I", test.fw_cfg(_DIRECTORY, 4))
    entries = test.fw_cfg(_DIRECTORY, 4 + 64 * count)
    directory = {}
    for number in range(count):
        size, key, name = struct.unpack_from(">IHxx56s", entries, 4 + 64 * number)
        directory[name.rstrip(b"\0").decode("ascii", "replace")] = (key, size)
    return directory


def _place_windows(test: _Test, start: int) -> None:
    """Give each 64-bit window on bus 0 a place from ``start`` on: the tables tell the lowest one."""
    for slot in range(32):
        for function in range(8):
            device = slot << 11 | function << 8
            if test.read_pci(device) == _NO_DEVICE:
                break
            start = _place(test, device, start)
            if function == 0 and not test.read_pci(device | _HEADER_TYPE) & _MANY_FUNCTIONS:
                break


def _place(test: _Test, device: int, start: int) -> int:
    registers = iter(_WINDOWS)
    for register in registers:
        if test.read_pci(device | register) & _TYPE_MASK != _MEMORY_64:
            continue
        next(registers, None)  # the upper half of the same window
        test.write_pci(device | register, 0xFFFF_FFFF)
        test.write_pci(device | register + 4, 0xFFFF_FFFF)
        mask = test.read_pci(device | register + 4) << 32 | test.read_pci(device | register) & ~0xF
        size = -mask & (1 << 64) - 1
        start = -(-start // size) * size
        test.write_pci(device | register, start & 0xFFFF_FFFF)
        test.write_pci(device | register + 4, start >> 32)
        test.write_pci(device | _COMMAND, test.read_pci(device | _COMMAND) & 0xFFFF | _MEMORY_ENABLE)
        start += size
    return start


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

    def read_pci(self, address: int) -> int:
        """Read 32 bits of a device on bus 0."""
        self.command(f"outl 0xcf8 {1 << 31 | address:#x}")
        return int(self.command("inl 0xcfc"), 16)

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
