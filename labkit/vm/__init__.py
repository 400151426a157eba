"""Virtual machines: what to boot, QEMU and its arguments, QMP, snapshots, and the directory of a run."""

from __future__ import annotations

from labkit.vm._machine import VirtualMachine
from labkit.vm.booting import boot, resume
from labkit.vm.hypervisor import Hypervisor
from labkit.vm.launch import Snapshot
from labkit.vm.rundir import running, stop
from labkit.vm.spec import Accelerator, BootSpec, MachineConfig, Port

__all__ = [
    "Accelerator",
    "BootSpec",
    "Hypervisor",
    "MachineConfig",
    "Port",
    "Snapshot",
    "VirtualMachine",
    "boot",
    "resume",
    "running",
    "stop",
]
