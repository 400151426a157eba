"""What a user asks to boot, and the machine that it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from labkit.settings import Settings
from labkit.toolchain.toolchain import Firmware, Toolchain
from labkit.virtio.devices import Device
from labkit.vm import BootSpec


@dataclass(frozen=True)
class BootRequest:
    """What the user asks for; None and empty mean labkit's own, or what fits the image.

    memory: MiB. append: added to the kernel's command line. cold: from power-on, without snapshot.
    iso: boots instead of a kernel. profile: the version of Asterinas that the image is, by name.
    smp: virtual CPUs. guest: ``linux``, or ``asterinas`` or ``asterinas:VERSION`` for the kernel in the
    cache. loader: through the boot loader that measures command line, kernel and initrd.
    devices: virtio devices that labkit serves; labkit's own Linux guest gets their drivers.
    """

    memory: int | None = None
    append: str = ""
    kernel: Path | None = None
    initrd: Path | None = None
    firmware: Path | None = None
    cold: bool = False
    iso: Path | None = None
    profile: str | None = None
    smp: int = 1
    guest: str | None = None
    loader: bool = False
    devices: tuple[Device, ...] = ()


def measured_through_loader(guest: str | None) -> bool:
    """Only a boot through the loader measures this guest whole: the kernel by itself does not."""
    return guest not in (None, "linux")


@dataclass(frozen=True)
class PlanInputs:
    """All that a plan is made from. firmware: the request's own, or that of the toolchain."""

    request: BootRequest
    toolchain: Toolchain
    firmware: Firmware
    settings: Settings


@dataclass(frozen=True)
class BootContents:
    """What a measured boot is made of; ``loader`` is the boot loader's image, where one starts the kernel."""

    kernel: Path
    initrd: Path
    command_line: str
    loader: bytes | None = None


@dataclass(frozen=True)
class BootPlan:
    """The machine that a request comes to.

    recognized: what the given image is and why, in a clause; empty for labkit's own guest.
    unmeasured: why the boot has no registers, in a sentence; None where it is measured.
    left_out: what of a measured boot no register covers, in a sentence; None where that is nothing.
    contents: what is predicted from; None where nothing can be.
    """

    spec: BootSpec
    firmware: Firmware | None
    recognized: str = ""
    unmeasured: str | None = None
    left_out: str | None = None
    contents: BootContents | None = None
