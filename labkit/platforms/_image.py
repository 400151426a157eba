"""Any image that a request names: recognized by its content, and given the machine that it needs."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

from labkit.asterinas import KernelCache, Profile
from labkit.asterinas.boot_image import EM_X86_64, BootImage, ImageKind
from labkit.asterinas.kept import KeptImage, parse_guest
from labkit.asterinas.machine import (
    DIRECT_MEMORY,
    FIRMWARE_MEMORY,
    AsterinasGuest,
    asked_console,
    asterinas_command_line,
    asterinas_machine,
)
from labkit.asterinas.rootfs import build_asterinas_initramfs
from labkit.bootlog.timeline import GuestType
from labkit.errors import NotAKernel, UsageError
from labkit.files import keep_whole
from labkit.guest.kernel_image import check_kernel
from labkit.guest.types import SHELL_PROMPT
from labkit.platforms._plan_linux import plan_linux, unmeasured
from labkit.platforms.request import BootContents, BootPlan, BootRequest, PlanInputs
from labkit.settings import Settings
from labkit.toolchain.toolchain import Firmware
from labkit.vm import BootSpec, MachineConfig
from labkit.vm.memory import FOREIGN_MEMORY, MemoryNeed
from labkit.vm.spec import Port

_ELF_MACHINE_386 = (3).to_bytes(2, "little")
_ELF_MACHINE_AT = 18


def plan_image(given: PlanInputs) -> BootPlan:
    """The machine for the image that a request names.

    Raises:
        UsageError, NotAKernel: it cannot boot.
    """
    known = Profile.named(given.request.profile) if given.request.profile else None
    request, kept = _with_guest(given.request, given.settings)
    given = replace(given, request=request)
    image = _given(request, known)
    if known or kept or image.asterinas:
        return _asterinas(given, image, known, kept)
    if image.kind is ImageKind.ISO:
        return _foreign(request, image, given.firmware, given.settings)
    if image.kind is ImageKind.MULTIBOOT:
        return _foreign(request, image, None, given.settings)
    made = plan_linux(given)
    return _linux_elf(image, made) if image.kind is ImageKind.PVH else made


def _with_guest(request: BootRequest, settings: Settings) -> tuple[BootRequest, KeptImage | None]:
    """The request with the kernel of the guest that it names, and that kernel; one that is given goes first.

    Raises:
        UsageError: there is no such guest.
        MissingComponent: its kernel is not in the cache.
    """
    name, version = parse_guest(request.guest or "linux")
    if name == "linux" or request.kernel or request.iso:
        return request, None
    kept = KernelCache(settings).find(version)
    return replace(request, kernel=kept.path), kept


def _given(request: BootRequest, known: Profile | None) -> BootImage:
    """The image that the request names, looked at.

    Raises:
        UsageError: it names two, or a profile without an image.
        NotAKernel: it is none, or not what its option says.
    """
    if request.iso and (request.kernel or request.initrd or request.append):
        raise UsageError(
            "An ISO has its own kernel, initrd and command line.",
            "Leave out --kernel, --initrd and --append.",
        )
    path = request.iso or request.kernel
    if path is None:
        name = known.name if known else ""
        raise UsageError(
            f"Profile {name} needs an image of that Asterinas.",
            "Give --kernel or --iso; `labkit asterinas run` builds one in its container.",
        )
    image = BootImage.recognize(path.absolute())
    if (image.kind is ImageKind.ISO) is not (request.iso is not None):
        option = "--iso" if image.kind is ImageKind.ISO else "--kernel"
        raise NotAKernel(f"{path} is {_article(image.kind)}.", f"Give it by {option}.")
    if image.kind is ImageKind.BZIMAGE and not (known or image.asterinas):
        check_kernel(image.path)
    return image


def _article(kind: ImageKind) -> str:
    return f"an {kind}" if kind is ImageKind.ISO else f"a {kind}"


def _asterinas(
    given: PlanInputs, image: BootImage, known: Profile | None, kept: KeptImage | None
) -> BootPlan:
    request, settings = given.request, given.settings
    console = Port.TTYS0 if "ttyS0" in (image.console, asked_console(request.append)) else Port.HVC0
    guest = AsterinasGuest(first_stage="kernel" if image.direct else "firmware")
    if known:
        guest = replace(guest, name=f"asterinas {known.version}", power_off=known.power_off)
    elif kept:
        guest = replace(guest, name=f"asterinas {kept.version}")
    initrd, line, contents = None, "", None
    if image.kind is not ImageKind.ISO:
        initrd = request.initrd or build_asterinas_initramfs(
            given.toolchain.busybox, settings.cache_dir / "guest"
        )
        initrd = _nameable(initrd.absolute(), settings)
        by_firmware = not (image.direct or request.loader)
        line = asterinas_command_line(request.append, console.value, firmware=by_firmware)
        contents = None if image.direct else BootContents(image.path, initrd, line)
    spec = BootSpec(
        firmware=None if image.direct else given.firmware,
        kernel=None if image.kind is ImageKind.ISO else _bootable(image, settings),
        initrd=initrd,
        command_line=line,
        guest=guest,
        memory=_asterinas_memory(request, image, initrd),
        cpus=request.smp,
        tpm=not image.direct,
        iso=image.path if image.kind is ImageKind.ISO else None,
        board=asterinas_machine(console),
    )
    if kept:
        why = f"the kernel of Asterinas {kept.version} (SHA-256 {kept.sha256[:16]}…), from {kept.origin}"
    elif known:
        why = f"{image.path.name} is taken for Asterinas {known.version}, as --profile says"
    else:
        why = f"{image.path.name} is Asterinas: {image.why}"
    if image.direct:
        return unmeasured(spec, why)
    return BootPlan(spec, given.firmware, why, left_out=_left_out(image), contents=contents)


def _left_out(image: BootImage) -> str | None:
    """What no register covers; found by counting what boots of Asterinas v0.18.0 extended."""
    if image.kind is not ImageKind.ISO:
        return (
            "Not measured: the initramfs and the command line, which the EFI stub of Asterinas leaves out; "
            "with --loader both are."
        )
    if image.loader_measures:
        return None
    kernel = "the kernel, " if image.multiboot else ""
    return (
        f"Not measured: {kernel}the initramfs and the command line, since the GRUB of the ISO does not load "
        "its module `tpm`."
    )


def _asterinas_memory(request: BootRequest, image: BootImage, initrd: Path | None) -> int:
    """What is asked for, where that is enough; else what the image needs.

    Raises:
        UsageError: it is too little.
    """
    least = DIRECT_MEMORY if image.direct else FIRMWARE_MEMORY
    # A compressed root file system is unpacked into memory.
    packed = sum(path.stat().st_size for path in (image.path, initrd) if path) >> 20
    default = max(least, FIRMWARE_MEMORY // 2 + 512 * -(-8 * packed // 512))
    why = (
        "an Asterinas that is booted directly panics on its ACPI tables with less"
        if image.direct
        else "the firmware, the Asterinas kernel and its root file system need it"
    )
    return MemoryNeed(least, default, why).given(request.memory)


def _foreign(
    request: BootRequest, image: BootImage, firmware: Firmware | None, settings: Settings
) -> BootPlan:
    """An image of which only its shell's prompt is expected, on the first serial port."""
    port = Port.HVC0 if image.console == "hvc0" else Port.TTYS0
    board = MachineConfig(shell=port, shell_is_console=True, debug_exit=True, display=True)
    iso = image.path if image.kind is ImageKind.ISO else None
    spec = BootSpec(
        firmware=firmware,
        kernel=None if iso else _bootable(image, settings),
        initrd=request.initrd.absolute() if request.initrd else None,
        command_line=f"console={port.value} {request.append}".strip(),
        guest=SHELL_PROMPT,
        memory=FOREIGN_MEMORY.given(request.memory),
        cpus=request.smp,
        tpm=firmware is not None,
        iso=iso,
        board=board,
    )
    why = f"{image.path.name} is {image.why}"
    if firmware is None:
        return unmeasured(spec, why)
    return BootPlan(spec, firmware, why, left_out="Perhaps not measured: what the ISO's own loader starts.")


def _linux_elf(image: BootImage, own: BootPlan) -> BootPlan:
    """The same Linux without firmware and loader."""
    guest = own.spec.guest
    assert isinstance(guest, GuestType)
    direct = replace(guest, first_stage="loader")
    spec = replace(own.spec, firmware=None, kernel=image.path, tpm=False, guest=direct)
    return unmeasured(spec, f"{image.path.name} is {image.why}")


def _bootable(image: BootImage, settings: Settings) -> Path:
    """The kernel as QEMU takes it: its multiboot loader refuses an ELF that says x86-64.

    OSDK's ``*.qemu_elf`` says 80386 for that reason; a copy of any other is changed likewise.
    """
    if image.kind is not ImageKind.MULTIBOOT or image.machine != EM_X86_64:
        return image.path
    data = bytearray(image.path.read_bytes())
    data[_ELF_MACHINE_AT : _ELF_MACHINE_AT + 2] = _ELF_MACHINE_386
    path = settings.cache_dir / "guest" / f"{hashlib.sha256(data).hexdigest()[:16]}.qemu_elf"
    keep_whole(path, bytes(data))
    return path


def _nameable(initrd: Path, settings: Settings) -> Path:
    """A copy under a plain name, where QEMU would split the path of a multiboot module."""
    if not set(str(initrd)) & set(" ,"):
        return initrd
    copy = settings.cache_dir / "guest" / f"initrd-{hashlib.sha256(initrd.read_bytes()).hexdigest()[:16]}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(initrd, copy)
    return copy
