"""Virtual machines: what to boot, QEMU and its arguments, QMP, snapshots, and the directory of a run."""

from __future__ import annotations

from labkit.vm._accel import choose_accelerator
from labkit.vm._boot import boot, resume
from labkit.vm._boot_disc import build_boot_disc
from labkit.vm._fwcfg import fw_cfg_files
from labkit.vm._launch import Snapshot
from labkit.vm._machine import VirtualMachine
from labkit.vm._memory import FOREIGN_MEMORY, LINUX_MEMORY, MemoryNeed, check_memory, free_memory
from labkit.vm._qemu import Sockets, qemu_arguments, tdx_arguments
from labkit.vm._rundir import RunningVm, running, stop
from labkit.vm._spec import Accel, Accelerator, BootSpec, MachineConfig, Port, TrustDomain

__all__ = [
    "FOREIGN_MEMORY",
    "LINUX_MEMORY",
    "Accel",
    "Accelerator",
    "BootSpec",
    "MachineConfig",
    "MemoryNeed",
    "Port",
    "RunningVm",
    "Snapshot",
    "Sockets",
    "TrustDomain",
    "VirtualMachine",
    "boot",
    "build_boot_disc",
    "check_memory",
    "choose_accelerator",
    "free_memory",
    "fw_cfg_files",
    "qemu_arguments",
    "resume",
    "running",
    "stop",
    "tdx_arguments",
]
