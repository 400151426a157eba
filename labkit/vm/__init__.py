"""Virtual machines: what to boot, QEMU and its arguments, QMP, snapshots, and the directory of a run."""

from __future__ import annotations

from labkit.vm._machine import VirtualMachine
from labkit.vm.booting import boot, resume
from labkit.vm.hypervisor import Hypervisor
from labkit.vm.spec import BootSpec, MachineConfig

__all__ = [
    "BootSpec",
    "Hypervisor",
    "MachineConfig",
    "VirtualMachine",
    "boot",
    "resume",
]
