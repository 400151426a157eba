"""From what the user asks for to the machine that boots: labkit's own guest, or any image that is given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from labkit.errors import UsageError
from labkit.settings import Settings
from labkit.vm import (
    COMMAND_LINE,
    LINUX,
    SHELL_PROMPT,
    Board,
    BootSpec,
    Firmware,
    Port,
    Toolchain,
    build_initramfs,
    is_own_initramfs,
)

DEFAULT_MEMORY = 512
_LEAST_MEMORY = 256
"""MiB. With less, the firmware fails in ways that say nothing about memory (measured below 192)."""


@dataclass(frozen=True)
class BootRequest:
    """What the user asks for; None and empty mean labkit's own, or what fits the image.

    memory: MiB. append: added to the kernel's command line. cold: from power-on, without snapshot.
    iso: boots instead of a kernel. profile: the version of Asterinas that the image is, by name.
    """

    memory: int | None = None
    append: str = ""
    kernel: Path | None = None
    initrd: Path | None = None
    firmware: Path | None = None
    cold: bool = False
    iso: Path | None = None
    profile: str | None = None


@dataclass(frozen=True)
class Plan:
    """The machine that a request comes to.

    recognized: what the given image is and why, in a clause; empty for labkit's own guest.
    unmeasured: why the boot has no registers, in a sentence; None where it is measured.
    """

    spec: BootSpec
    firmware: Firmware | None
    recognized: str = ""
    unmeasured: str | None = None


def plan(request: BootRequest, toolchain: Toolchain, firmware: Firmware, settings: Settings) -> Plan:
    """What boots, from the request and the content of the files that it names.

    Raises:
        UsageError, NotAKernel: the request cannot boot.
    """
    if not request.append.isprintable():
        raise UsageError("The kernel command line holds control characters.", "Write it in one line.")
    if request.initrd and not request.initrd.is_file():
        raise UsageError(f"There is no initrd {request.initrd}.", "Name a file, or leave it out.")
    if request.iso or request.kernel or request.profile:
        # Most boots name no image, and need not wait for what is known of Asterinas.
        from labkit.platforms._image import plan_image

        made = plan_image(request, toolchain, firmware, settings)
    else:
        made = plan_linux(request, toolchain, firmware, settings)
    _check_memory(made.spec.memory)
    return made


def plan_linux(request: BootRequest, toolchain: Toolchain, firmware: Firmware, settings: Settings) -> Plan:
    """A Linux through the firmware: labkit's own kernel and root file system, or those of the request.

    Raises:
        UsageError: too little memory.
    """
    memory = DEFAULT_MEMORY if request.memory is None else request.memory
    if memory < _LEAST_MEMORY:
        raise UsageError(
            f"{memory} MiB of memory is too little to boot: the firmware and the kernel need "
            f"{_LEAST_MEMORY}.",
            f"Ask for {DEFAULT_MEMORY}, or leave it out.",
        )
    own_initrd = build_initramfs(toolchain.busybox, settings.cache_dir / "guest", toolchain.bash)
    spec = BootSpec(
        firmware=firmware,
        kernel=request.kernel.absolute() if request.kernel else toolchain.kernel,
        initrd=request.initrd.absolute() if request.initrd else own_initrd,
        command_line=f"{COMMAND_LINE} {request.append}".strip(),
        profile=LINUX,
        memory=memory,
    )
    if request.initrd and not is_own_initramfs(request.initrd.read_bytes()):
        return _foreign_initrd(request.initrd, Plan(spec, firmware))
    return Plan(spec, firmware)


def _foreign_initrd(initrd: Path, own: Plan) -> Plan:
    """A Linux with somebody else's root file system: its shell is where its console is."""
    spec = replace(own.spec, tpm=False, board=Board(shell=Port.TTYS0), profile=SHELL_PROMPT)
    words = f"{initrd.name} is not labkit's own root file system: a prompt on ttyS0 is waited for"
    return unmeasured(spec, own.firmware, words)


def unmeasured(spec: BootSpec, firmware: Firmware | None, recognized: str) -> Plan:
    """A plan whose boot has no registers, with the reason."""
    if spec.firmware is None:
        why = (
            "The kernel was started directly: no firmware measured anything, so there is no MRTD and no RTMR."
        )
    else:
        why = "The guest shows no event log, so there is no RTMR; MRTD is computed from the firmware file."
    return Plan(spec, firmware, recognized, why)


def _check_memory(memory: int) -> None:
    available = _available_memory()
    if memory > available:
        raise UsageError(
            f"{memory} MiB of memory is more than this machine has free ({available} MiB).",
            f"Ask for less; {DEFAULT_MEMORY} is enough for labkit's own guest.",
        )


def _available_memory() -> int:
    """MiB that the host can still give (proc(5), MemAvailable)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return 1 << 20
