"""What a given file is, by its content: kernel ELF, bzImage or ISO, an Asterinas or another, and why so."""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from labkit.asterinas.iso import is_iso, read_from_iso
from labkit.errors import NotAKernel


class ImageKind(StrEnum):
    """The forms of a bootable image."""

    MULTIBOOT = "multiboot ELF"
    PVH = "PVH ELF"
    BZIMAGE = "bzImage"
    ISO = "ISO"


@dataclass(frozen=True)
class BootImage:
    """A bootable file.

    asterinas: it holds an Asterinas. efi: UEFI firmware can start it. machine: the ELF's ``e_machine``.
    console: what its own boot loader configuration hands over, where it has one. multiboot, loader_measures:
    its configuration boots by multiboot, and loads GRUB's module ``tpm``. why: the signs, in a clause.
    """

    path: Path
    kind: ImageKind
    asterinas: bool
    efi: bool
    why: str
    machine: int | None = None
    console: str | None = None
    multiboot: bool = False
    loader_measures: bool = False

    @classmethod
    def recognize(cls, path: Path) -> BootImage:
        """Say what a file is.

        Raises:
            NotAKernel: it is nothing that can boot; the message says what it is, where that can be told.
        """
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                if size < 512:
                    raise NotAKernel(f"{path} is not a kernel: it has {size} bytes.", _REMEDY)
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    if data[:4] == b"\x7fELF":
                        return _elf(path, data)
                    if data[0x202:0x206] == b"HdrS":
                        return _bzimage(path, data)
                    if is_iso(path):
                        return _iso(path, data)
        except OSError as error:
            raise NotAKernel(f"{path} cannot be read: {error.strerror}.", _REMEDY) from error
        raise NotAKernel(f"{path} is neither an ELF, nor a bzImage, nor an ISO.", _REMEDY)

    @property
    def direct(self) -> bool:
        """QEMU starts it without firmware."""
        return self.kind in (ImageKind.MULTIBOOT, ImageKind.PVH) or not self.efi


# Literals of the kernel and of its EFI stub; any one will do, since a compiler may cut others up.
_SIGNS = (
    b"OSTD initialized. Preparing components.",
    b"Entering the Asterinas entry point",
    b"Entering Asterinas entrypoint",
    b"Spawn the first kernel thread",
    b"unpacking initramfs.cpio.gz to rootfs",
    b"unpacking the initramfs.cpio.gz to rootfs",
    b"aster-kernel-osdk-bin",
    b"asterinas-osdk-bin",
    b"aster-nix-osdk-bin",
)
_GRUB_CONFIGURATION = "boot/grub/grub.cfg"
_EM_386, EM_X86_64 = 3, 62
_MACHINE_AT = 18
_MULTIBOOT_MAGIC, _MULTIBOOT_AREA = 0x1BADB002, 8192
_PT_NOTE, _PVH_NOTE = 4, 18
_REMEDY = "Name a kernel ELF (OSDK's *.qemu_elf), a bzImage, or an ISO with --iso."


def says_asterinas(data: bytes) -> bool:
    """The data holds a sentence of Asterinas."""
    return any(sign in data for sign in _SIGNS)


def _sign(data: mmap.mmap) -> str | None:
    found = next((sign for sign in _SIGNS if data.find(sign) >= 0), None)
    return f"it holds {found.decode()!r}" if found else None


def _elf(path: Path, data: mmap.mmap) -> BootImage:
    (machine,) = struct.unpack_from("<H", data, _MACHINE_AT)
    if machine not in (_EM_386, EM_X86_64):
        raise NotAKernel(f"{path} is an ELF for another processor (machine {machine}).", _REMEDY)
    sign = _sign(data)
    if _has_multiboot(data[:_MULTIBOOT_AREA]):
        kind = ImageKind.MULTIBOOT
    elif _has_pvh_note(data):
        kind = ImageKind.PVH
    else:
        raise NotAKernel(f"{path} is an ELF without a multiboot header or a PVH note.", _REMEDY)
    return BootImage(path, kind, sign is not None, False, f"an ELF; {sign or _FOREIGN}", machine)


_FOREIGN = "nothing in it says Asterinas"

# What leads out of a configuration, and what may stand in it before a module without deciding on it.
_ELSEWHERE = re.compile(
    r"(?:^|[;{])[ \t]*(?:rmmod|configfile|source|\.|chainloader|normal|legacy_\w+|eval)(?:\s|$)", re.MULTILINE
)
_BEFORE = re.compile(r"^[ \t]*(?!set\s|insmod\s|terminal_\w+\s|serial\s|#|$).", re.MULTILINE)


def _bzimage(path: Path, data: mmap.mmap) -> BootImage:
    sign, efi = _sign(data), data[:2] == b"MZ"
    how = "with an EFI stub" if efi else "without an EFI stub"
    return BootImage(path, ImageKind.BZIMAGE, sign is not None, efi, f"a bzImage {how}; {sign or _FOREIGN}")


def _iso(path: Path, data: mmap.mmap) -> BootImage:
    text = (read_from_iso(path, _GRUB_CONFIGURATION) or b"").decode("utf-8", "replace")
    console = re.search(r"^\s*(?:multiboot2?|linux\w*)\s.*?\bconsole=(\w+)", text, re.MULTILINE)
    named = re.search(
        r"^\s*(?:multiboot2?|linux\w*|menuentry)\s.*(?:\baster(?:inas|-kernel|-nix)|osdk-bin)",
        text,
        re.MULTILINE,
    )
    sign = "its GRUB configuration names it" if named else _sign(data)
    why = f"an ISO; {sign or _FOREIGN}"
    return BootImage(
        path,
        ImageKind.ISO,
        sign is not None,
        True,
        why,
        console=console[1] if console else None,
        multiboot=re.search(r"^\s*multiboot2?\s", text, re.MULTILINE) is not None,
        loader_measures=_measures(text),
    )


def _measures(configuration: str) -> bool:
    """GRUB loads its module ``tpm`` before all else that counts, and keeps it: to the letter, or not at all.

    What another file, a condition or another loader does is not in this configuration.
    """
    before, _, after = f"\n{configuration}".partition("\ninsmod tpm\n")
    return bool(after) and not _BEFORE.search(before) and not _ELSEWHERE.search(after)


def _has_multiboot(head: bytes) -> bool:
    """A multiboot 1 header: magic, flags, checksum, which add up to 0 (Multiboot Specification 0.6.96)."""
    for at in range(0, len(head) - 12, 4):
        magic, flags, checksum = struct.unpack_from("<III", head, at)
        if magic == _MULTIBOOT_MAGIC and (magic + flags + checksum) & 0xFFFFFFFF == 0:
            return True
    return False


def _has_pvh_note(data: mmap.mmap) -> bool:
    """A note ``Xen`` of type 18, by which QEMU enters a kernel directly (Xen include/public/elfnote.h)."""
    wide = data[4] == 2
    if wide:
        offset, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    else:
        offset, size, count = struct.unpack_from("<I", data, 28)[0], *struct.unpack_from("<HH", data, 42)
    for number in range(min(count, 64)):
        at = offset + number * size
        if at + 40 > len(data):
            return False
        kind = struct.unpack_from("<I", data, at)[0]
        where, length = (
            (struct.unpack_from("<Q", data, at + 8)[0], struct.unpack_from("<Q", data, at + 32)[0])
            if wide
            else (struct.unpack_from("<I", data, at + 4)[0], struct.unpack_from("<I", data, at + 16)[0])
        )
        note = struct.pack("<I", _PVH_NOTE) + b"Xen\0"
        if kind == _PT_NOTE and note in data[where : where + min(length, 1 << 16)]:
            return True
    return False
