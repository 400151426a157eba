"""Virtual machines: what to boot, QEMU, its console, snapshots and timeline."""

from __future__ import annotations

from labkit.vm._accel import choose_accelerator
from labkit.vm._boot import boot
from labkit.vm._console import CommandResult, Console
from labkit.vm._fwcfg import fw_cfg_files
from labkit.vm._guest import COMMAND_LINE, build_initramfs
from labkit.vm._kernel import check_kernel
from labkit.vm._machine import Machine
from labkit.vm._profiles import LINUX
from labkit.vm._provision import install as install_toolchain
from labkit.vm._rundir import RunningVm, running, stop
from labkit.vm._spec import Accel, Accelerator, BootSpec
from labkit.vm._timeline import GuestProfile, Mark, Stage, Timeline
from labkit.vm._toolchain import Component, Firmware, Inventory, Program, Toolchain
from labkit.vm._toolchain import find as find_toolchain
from labkit.vm._toolchain import inventory as toolchain_inventory

__all__ = [
    "COMMAND_LINE",
    "LINUX",
    "Accel",
    "Accelerator",
    "BootSpec",
    "CommandResult",
    "Component",
    "Console",
    "Firmware",
    "GuestProfile",
    "Inventory",
    "Machine",
    "Mark",
    "Program",
    "RunningVm",
    "Stage",
    "Timeline",
    "Toolchain",
    "boot",
    "build_initramfs",
    "check_kernel",
    "choose_accelerator",
    "find_toolchain",
    "fw_cfg_files",
    "install_toolchain",
    "running",
    "stop",
    "toolchain_inventory",
]
