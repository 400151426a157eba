"""Virtual machines: what to boot, QEMU, its console, snapshots and timeline."""

from __future__ import annotations

from labkit.vm._accel import choose_accelerator
from labkit.vm._boot import boot, resume
from labkit.vm._command import CommandResult, Listener
from labkit.vm._console import Console
from labkit.vm._frames import quoted
from labkit.vm._guest import COMMAND_LINE, build_initramfs
from labkit.vm._kernel import check_kernel
from labkit.vm._launch import Snapshot
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
    "Listener",
    "Machine",
    "Mark",
    "Program",
    "RunningVm",
    "Snapshot",
    "Stage",
    "Timeline",
    "Toolchain",
    "boot",
    "build_initramfs",
    "check_kernel",
    "choose_accelerator",
    "find_toolchain",
    "install_toolchain",
    "quoted",
    "resume",
    "running",
    "stop",
    "toolchain_inventory",
]
