"""A Linux through the firmware: labkit's own guest, or one whose kernel or root file system is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from labkit.files import read_named
from labkit.guest.initramfs import COMMAND_LINE, build_initramfs, shell_port
from labkit.guest.types import LINUX, SHELL_PROMPT
from labkit.platforms._drivers import with_drivers
from labkit.platforms.request import BootContents, BootPlan, PlanInputs
from labkit.vm import BootSpec, MachineConfig
from labkit.vm.memory import LINUX_MEMORY
from labkit.vm.spec import Port

_LARGEST_INITRD = 1 << 30
_LARGEST_KERNEL = 512 << 20
_SILENT = (
    "Not measured: the initramfs and the command line, since the kernel has nothing measured; with "
    "--loader both are."
)


def plan_linux(given: PlanInputs) -> BootPlan:
    """A Linux through the firmware: labkit's own kernel and root file system, or those of the request.

    Raises:
        UsageError: too little memory.
        MissingComponent: the kernel has no modules beside it, and a device needs one.
    """
    request, toolchain, settings = given.request, given.toolchain, given.settings
    # The modules are those of labkit's own kernel; devices that lie have the virtio drivers to themselves.
    modules = None if request.kernel or request.devices else toolchain.modules
    own_initrd = build_initramfs(toolchain.busybox, settings.cache_dir / "guest", toolchain.bash, modules)
    if request.devices:
        kernel = request.kernel or toolchain.kernel
        own_initrd = with_drivers(own_initrd, kernel, request.devices, settings)
    contents = BootContents(
        kernel=request.kernel.absolute() if request.kernel else toolchain.kernel,
        initrd=request.initrd.absolute() if request.initrd else own_initrd,
        command_line=f"{COMMAND_LINE} {request.append}".strip(),
    )
    # A stub that has nothing measured takes no log over either, and the kernel uses that memory for itself.
    silent = request.kernel is not None and _is_silent(contents.kernel)
    left_out = _SILENT if silent else None
    port = shell_port(read_named(contents.initrd, _LARGEST_INITRD))
    spec = BootSpec(
        firmware=given.firmware,
        kernel=contents.kernel,
        initrd=contents.initrd,
        command_line=contents.command_line,
        guest=replace(LINUX, handover=SHELL_PROMPT.handover) if silent else LINUX,
        memory=LINUX_MEMORY.given(request.memory),
        cpus=request.smp,
        board=MachineConfig(shell=Port(port or Port.TTYS0), shell_is_console=port is None),
    )
    if request.initrd and port is None:
        return _foreign_initrd(
            request.initrd, BootPlan(spec, given.firmware, contents=contents, left_out=left_out)
        )
    return BootPlan(spec, given.firmware, contents=contents, left_out=left_out)


def _is_silent(kernel: Path) -> bool:
    from labkit.measure.kernel_image import stub_measures

    return not stub_measures(read_named(kernel, _LARGEST_KERNEL))


def _foreign_initrd(initrd: Path, own: BootPlan) -> BootPlan:
    """A Linux with somebody else's root file system: its shell is where its console is."""
    spec = replace(own.spec, guest=SHELL_PROMPT)
    words = f"{initrd.name} is not labkit's own root file system: a prompt on ttyS0 is waited for"
    return replace(own, spec=spec, recognized=words)


def unmeasured(spec: BootSpec, recognized: str) -> BootPlan:
    """A plan of a boot without firmware, which has no registers."""
    why = "The kernel was started directly: no firmware measured anything, so there is no MRTD and no RTMR."
    return BootPlan(spec, None, recognized, why)
