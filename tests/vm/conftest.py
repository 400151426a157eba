"""Fixtures of the virtual machine's tests: a shell on a terminal here, and one in a real guest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from labkit.guest.initramfs import COMMAND_LINE, build_initramfs, shell_port
from labkit.guest.types import LINUX
from labkit.settings import Settings
from labkit.toolchain.toolchain import Toolchain
from labkit.vm import BootSpec, Hypervisor, MachineConfig, VirtualMachine
from labkit.vm import boot as boot_vm
from labkit.vm.spec import Accel, Accelerator, Port


@pytest.fixture(scope="session")
def spec(toolchain: Toolchain, vm_settings: Settings) -> BootSpec:
    """labkit's own guest on the distribution's firmware."""
    initrd = build_initramfs(
        toolchain.busybox, vm_settings.cache_dir / "guest", toolchain.bash, toolchain.modules
    )
    board = MachineConfig(shell=Port(shell_port(initrd.read_bytes()) or ""))
    return BootSpec(
        toolchain.firmware, toolchain.kernel, initrd, COMMAND_LINE, LINUX, memory=256, board=board
    )


TCG = Accelerator(Accel.TCG, "tests run under TCG")


@pytest.fixture(scope="session")
def hypervisor(toolchain: Toolchain, vm_settings: Settings) -> Hypervisor:
    """What most machines of these tests are started with."""
    return Hypervisor(toolchain, vm_settings, TCG)


@pytest.fixture
def guest(spec: BootSpec, hypervisor: Hypervisor) -> Iterator[VirtualMachine]:
    """A booted guest; the first use boots from power-on, the others resume."""
    machine, _ = boot_vm(spec, hypervisor)
    with machine:
        yield machine
