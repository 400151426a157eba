"""From what the user asks for to the machine that boots: labkit's own guest, or any image that is given."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from labkit.asterinas import (
    DIRECT_MEMORY,
    EM_X86_64,
    FIRMWARE_MEMORY,
    AsterinasGuest,
    Image,
    ImageKind,
    Profile,
    asked_console,
    asterinas_board,
    asterinas_command_line,
    build_asterinas_initramfs,
    profile,
    recognize_image,
)
from labkit.errors import NotAKernel, UsageError
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
    check_kernel,
    is_own_initramfs,
)

DEFAULT_MEMORY = 512
_LEAST_MEMORY = 256
"""MiB. With less, the firmware fails in ways that say nothing about memory (measured below 192)."""

_ELF_MACHINE_386 = (3).to_bytes(2, "little")
_ELF_MACHINE_AT = 18


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
    known = profile(request.profile) if request.profile else None
    image = _given(request, known)
    if image is not None and (known or image.asterinas):
        made = _asterinas(request, image, known, toolchain, firmware, settings)
    elif image is not None and image.kind is ImageKind.ISO:
        made = _foreign(request, image, firmware, settings)
    elif image is not None and image.kind is ImageKind.MULTIBOOT:
        made = _foreign(request, image, None, settings)
    else:
        made = _own(request, toolchain, firmware, settings)
        if image is not None and image.kind is ImageKind.PVH:
            made = _linux_elf(image, made)
        if request.initrd and not is_own_initramfs(request.initrd.read_bytes()):
            made = _foreign_initrd(request.initrd, made)
    _check_memory(made.spec.memory)
    return made


def _given(request: BootRequest, known: Profile | None) -> Image | None:
    """The image that the request names, looked at; None for labkit's own kernel.

    Raises:
        UsageError: it names two, or a profile without an image.
        NotAKernel: it is none, or not what its option says.
    """
    if request.iso and (request.kernel or request.initrd or request.append):
        raise UsageError(
            "An ISO brings its own kernel, initrd and command line.",
            "Leave out --kernel, --initrd and --append.",
        )
    path = request.iso or request.kernel
    if path is None:
        if known:
            raise UsageError(
                f"Profile {known.name} needs an image of that Asterinas.",
                "Give --kernel or --iso; `labkit asterinas run` builds one in its container.",
            )
        return None
    image = recognize_image(path.absolute())
    if (image.kind is ImageKind.ISO) is not (request.iso is not None):
        option = "--iso" if image.kind is ImageKind.ISO else "--kernel"
        raise NotAKernel(f"{path} is {_article(image.kind)}.", f"Give it by {option}.")
    if image.kind is ImageKind.BZIMAGE and not (known or image.asterinas):
        check_kernel(image.path)
    return image


def _article(kind: ImageKind) -> str:
    return f"an {kind}" if kind is ImageKind.ISO else f"a {kind}"


def _own(request: BootRequest, toolchain: Toolchain, firmware: Firmware, settings: Settings) -> Plan:
    memory = DEFAULT_MEMORY if request.memory is None else request.memory
    if memory < _LEAST_MEMORY:
        raise UsageError(
            f"{memory} MiB of memory is too little to boot: the firmware and the kernel need "
            f"{_LEAST_MEMORY}.",
            f"Ask for {DEFAULT_MEMORY}, or leave it out.",
        )
    own_initrd = build_initramfs(toolchain.busybox, settings.cache_dir / "guest")
    spec = BootSpec(
        firmware=firmware,
        kernel=request.kernel.absolute() if request.kernel else toolchain.kernel,
        initrd=request.initrd.absolute() if request.initrd else own_initrd,
        command_line=f"{COMMAND_LINE} {request.append}".strip(),
        profile=LINUX,
        memory=memory,
    )
    return Plan(spec, firmware)


def _asterinas(
    request: BootRequest,
    image: Image,
    known: Profile | None,
    toolchain: Toolchain,
    firmware: Firmware,
    settings: Settings,
) -> Plan:
    console = Port.TTYS0 if "ttyS0" in (image.console, asked_console(request.append)) else Port.HVC0
    guest = AsterinasGuest(first_stage="kernel" if image.direct else "firmware")
    if known:
        guest = replace(guest, name=f"asterinas {known.version}", power_off=known.power_off)
    initrd, line = None, ""
    if image.kind is not ImageKind.ISO:
        initrd = request.initrd or build_asterinas_initramfs(toolchain.busybox, settings.cache_dir / "guest")
        initrd = _nameable(initrd.absolute(), settings)
        line = asterinas_command_line(request.append, console.value, firmware=not image.direct)
    spec = BootSpec(
        firmware=None if image.direct else firmware,
        kernel=None if image.kind is ImageKind.ISO else _bootable(image, settings),
        initrd=initrd,
        command_line=line,
        profile=guest,
        memory=_asterinas_memory(request, image, initrd),
        tpm=False,
        iso=image.path if image.kind is ImageKind.ISO else None,
        board=asterinas_board(console),
    )
    why = f"taken for Asterinas {known.version}, as --profile says" if known else f"Asterinas: {image.why}"
    return _unmeasured(spec, None if image.direct else firmware, f"{image.path.name} is {why}")


def _asterinas_memory(request: BootRequest, image: Image, initrd: Path | None) -> int:
    """What is asked for, where that is enough; else what the image needs.

    Raises:
        UsageError: it is too little.
    """
    least = DIRECT_MEMORY if image.direct else FIRMWARE_MEMORY
    if request.memory is None:
        # A compressed root file system is unpacked into memory.
        packed = sum(path.stat().st_size for path in (image.path, initrd) if path) >> 20
        return max(least, FIRMWARE_MEMORY // 2 + 512 * -(-8 * packed // 512))
    if request.memory < least:
        how = (
            "booted directly it panics on its ACPI tables with less"
            if image.direct
            else "the firmware, the kernel and its root file system need it"
        )
        raise UsageError(
            f"{request.memory} MiB of memory is too little for this Asterinas, which takes {least}: {how}.",
            f"Ask for {least}, or leave it out.",
        )
    return request.memory


def _foreign(request: BootRequest, image: Image, firmware: Firmware | None, settings: Settings) -> Plan:
    """An image of which only its shell's prompt is expected, on the first serial port."""
    port = Port.HVC0 if image.console == "hvc0" else Port.TTYS0
    board = Board(shell=port, debug_exit=True, display=True)
    iso = image.path if image.kind is ImageKind.ISO else None
    spec = BootSpec(
        firmware=firmware,
        kernel=None if iso else _bootable(image, settings),
        initrd=request.initrd.absolute() if request.initrd else None,
        command_line=f"console={port.value} {request.append}".strip(),
        profile=SHELL_PROMPT,
        memory=request.memory or FIRMWARE_MEMORY,
        tpm=False,
        iso=iso,
        board=board,
    )
    return _unmeasured(spec, firmware, f"{image.path.name} is {image.why}")


def _linux_elf(image: Image, own: Plan) -> Plan:
    """A Linux without its loader: labkit's own guest, started directly."""
    guest = replace(LINUX, first_stage="loader")
    spec = replace(own.spec, firmware=None, kernel=image.path, tpm=False, profile=guest)
    return _unmeasured(spec, None, f"{image.path.name} is {image.why}")


def _foreign_initrd(initrd: Path, own: Plan) -> Plan:
    """A Linux with somebody else's root file system: its shell is where its console is."""
    board = Board(shell=Port.TTYS0)
    first = "firmware" if own.spec.firmware else "loader"
    guest = replace(SHELL_PROMPT, first_stage=first)
    spec = replace(own.spec, tpm=False, board=board, profile=guest)
    words = f"{initrd.name} is not labkit's own root file system: a prompt on ttyS0 is waited for"
    return _unmeasured(spec, own.firmware if spec.firmware else None, words)


def _unmeasured(spec: BootSpec, firmware: Firmware | None, recognized: str) -> Plan:
    if spec.firmware is None:
        why = (
            "The kernel was started directly: no firmware measured anything, so there is no MRTD and no RTMR."
        )
    else:
        why = "The guest shows no event log, so there is no RTMR; MRTD is computed from the firmware file."
    return Plan(spec, firmware, recognized, why)


def _bootable(image: Image, settings: Settings) -> Path:
    """The kernel as QEMU takes it: its multiboot loader refuses an ELF that says x86-64.

    OSDK's ``*.qemu_elf`` says 80386 for that reason; a copy of any other is changed likewise.
    """
    if image.kind is not ImageKind.MULTIBOOT or image.machine != EM_X86_64:
        return image.path
    data = bytearray(image.path.read_bytes())
    data[_ELF_MACHINE_AT : _ELF_MACHINE_AT + 2] = _ELF_MACHINE_386
    path = settings.cache_dir / "guest" / f"{hashlib.sha256(data).hexdigest()[:16]}.qemu_elf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(data)
        partial.replace(path)
    return path


def _nameable(initrd: Path, settings: Settings) -> Path:
    """A copy under a plain name, where QEMU would split the path of a multiboot module."""
    if not set(str(initrd)) & set(" ,"):
        return initrd
    copy = settings.cache_dir / "guest" / f"initrd-{hashlib.sha256(initrd.read_bytes()).hexdigest()[:16]}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(initrd, copy)
    return copy


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
