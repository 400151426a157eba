"""Boot a guest with devices that lie, and find out what it makes of each lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from labkit.bootlog.timeline import GuestType
from labkit.errors import LabkitError, MissingComponent, UsageError
from labkit.lies._disk import LIES, disk_findings
from labkit.lies._entropy import entropy_findings
from labkit.lies._guest import LiedTo
from labkit.lies.findings import Findings, LieFinding, recorded
from labkit.platforms import BootRequest, choose_platform
from labkit.settings import Settings
from labkit.toolchain.archive import AFTER_CLAMP, BEFORE_CLAMP, ArchivedKernel, fetch_kernel
from labkit.toolchain.toolchain import Toolchain
from labkit.virtio import Disk
from labkit.virtio.devices import Device, Entropy
from labkit.vm import BootSpec, Hypervisor, boot
from labkit.vm.accel import choose_accelerator

_ARCHIVED = {"linux-6.1.176": BEFORE_CLAMP, "linux-6.1.192": AFTER_CLAMP}

GUESTS = {
    "linux": "The Linux that labkit boots",
    "linux-6.1.176": "Linux 6.1.176 (Debian 12), before the fix",
    "linux-6.1.192": "Linux 6.1.192 (Debian 12), after the fix",
    "asterinas": "Asterinas",
}
"""The guests by name, and how they are called in a table."""

_MEMORY = 256
"""MiB of a Linux guest: as little as it boots with, since one lie has it read all of it."""

_DRIVERS = 60.0
_PATIENCE = 15.0
"""Seconds, on a machine at rest, after which a read counts as one that never ends. Honest ones take 0.1."""


def meet(
    name: str,
    settings: Settings,
    on_progress: Callable[[str], None] = lambda text: None,
    *,
    fresh: bool = False,
) -> Findings:
    """What a guest makes of each lie: found out by a boot where its kernel can be had, else as recorded.

    fresh: never a record.

    Raises:
        UsageError: there is no such guest.
        MissingComponent: its kernel cannot be had, and nothing was recorded.
        BootFailed: it does not come up.
    """
    if name not in GUESTS:
        raise UsageError(f"There is no guest {name!r} for this.", f"There are: {', '.join(GUESTS)}.")
    try:
        return _meet(name, settings, on_progress)
    except MissingComponent as error:
        known = None if fresh else recorded(name, error.message)
        if known is None:
            raise
        return known


def meet_each(
    names: Sequence[str], settings: Settings, on_progress: Callable[[str], None] = lambda text: None
) -> list[Findings]:
    """What each of several guests makes of the lies, side by side: most of the time is waiting.

    Raises:
        As ``meet``; then the others have ended too.
    """
    first, *more = names
    # A guest's processes belong to the thread that started them, and ``meet`` ends them before it returns.
    with ThreadPoolExecutor(max(1, len(more))) as pool:
        others = [pool.submit(meet, name, settings) for name in more]
        return [meet(first, settings, on_progress), *(other.result() for other in others)]


def _meet(name: str, settings: Settings, on_progress: Callable[[str], None]) -> Findings:
    platform = choose_platform("emulated", settings)
    toolchain = platform.toolchain()
    archived = _ARCHIVED.get(name)
    kernel = _archived(archived, toolchain, settings, on_progress) if archived else None
    devices: tuple[Device, ...] = (*(Disk() for _ in LIES), Entropy())
    asterinas = name == "asterinas"
    request = BootRequest(
        kernel=kernel,
        guest="asterinas" if asterinas else None,
        devices=devices,
        memory=None if asterinas else _MEMORY,
    )
    spec = platform.plan(request, toolchain).spec
    if not asterinas:
        spec = _without_firmware(spec)
    hypervisor = Hypervisor(toolchain, settings, choose_accelerator(toolchain, settings, on_progress))
    machine, _ = boot(spec, hypervisor, True, on_progress)
    with machine:
        guest = LiedTo(machine, _PATIENCE * settings.patience, direct=not asterinas)
        if not asterinas:
            loaded = machine.console.ask("modprobe virtio_blk && modprobe virtio-rng", _DRIVERS)
            if loaded.exit_status != 0:
                raise LabkitError(f"The guest does not load its drivers: {loaded.output.strip()}.")
        entropy: list[LieFinding] = []
        found = disk_findings(
            guest,
            list(zip(LIES, machine.devices[:-1], strict=True)),
            meanwhile=lambda: entropy.extend(entropy_findings(guest, machine.devices[-1])),
        )
    return Findings(GUESTS[name], (*found, *entropy), "of a boot just now")


def _archived(
    wanted: ArchivedKernel, toolchain: Toolchain, settings: Settings, on_progress: Callable[[str], None]
) -> Path:
    """The kernel that labkit boots anyway, where it is this one; else out of the archive."""
    own = toolchain.kernel
    return own if own.name == f"vmlinuz-{wanted.release}" else fetch_kernel(wanted, settings, on_progress)


def _without_firmware(spec: BootSpec) -> BootSpec:
    """Half the time: nothing here is about what a firmware measures."""
    assert isinstance(spec.guest, GuestType)
    direct = replace(spec.guest, first_stage="loader")
    # SeaBIOS, which starts the kernel here, faults where that asks it for the disks.
    line = f"{spec.command_line} edd=off"
    return replace(spec, firmware=None, tpm=False, guest=direct, command_line=line)
