"""Virtual machines: what to boot, QEMU, its console, snapshots and timeline."""

from __future__ import annotations

from labkit.vm._accel import choose_accelerator
from labkit.vm._boot import NOT_RESEEDED, boot, resume
from labkit.vm._command import CommandResult, Listener
from labkit.vm._console import Console
from labkit.vm._cpio import Entry
from labkit.vm._cpio import archive as cpio_archive
from labkit.vm._cpio import directory as cpio_directory
from labkit.vm._cpio import file as cpio_file
from labkit.vm._cpio import link as cpio_link
from labkit.vm._frames import quoted
from labkit.vm._fwcfg import fw_cfg_files
from labkit.vm._guest import COMMAND_LINE, build_initramfs, is_own_initramfs
from labkit.vm._kernel import check_kernel
from labkit.vm._launch import Snapshot
from labkit.vm._machine import Machine
from labkit.vm._memory import GuestMemory
from labkit.vm._profiles import LINUX, SHELL_PROMPT
from labkit.vm._provision import install as install_toolchain
from labkit.vm._qemu import Wires, qemu_arguments, tdx_arguments
from labkit.vm._rundir import RunningVm, running, stop
from labkit.vm._spec import Accel, Accelerator, Board, BootSpec, Port, TrustDomain
from labkit.vm._timeline import GuestProfile, Mark, Stage, Timeline
from labkit.vm._toolchain import Component, Firmware, Inventory, Program, Toolchain
from labkit.vm._toolchain import find as find_toolchain
from labkit.vm._toolchain import inventory as toolchain_inventory
from labkit.vm._watch import CONSOLE, SERIAL, Guest, Watch

__all__ = [
    "COMMAND_LINE",
    "CONSOLE",
    "LINUX",
    "NOT_RESEEDED",
    "SERIAL",
    "SHELL_PROMPT",
    "Accel",
    "Accelerator",
    "Board",
    "BootSpec",
    "CommandResult",
    "Component",
    "Console",
    "Entry",
    "Firmware",
    "Guest",
    "GuestMemory",
    "GuestProfile",
    "Inventory",
    "Listener",
    "Machine",
    "Mark",
    "Port",
    "Program",
    "RunningVm",
    "Snapshot",
    "Stage",
    "Timeline",
    "Toolchain",
    "TrustDomain",
    "Watch",
    "Wires",
    "boot",
    "build_initramfs",
    "check_kernel",
    "choose_accelerator",
    "cpio_archive",
    "cpio_directory",
    "cpio_file",
    "cpio_link",
    "find_toolchain",
    "fw_cfg_files",
    "install_toolchain",
    "is_own_initramfs",
    "qemu_arguments",
    "quoted",
    "resume",
    "running",
    "stop",
    "tdx_arguments",
    "toolchain_inventory",
]
