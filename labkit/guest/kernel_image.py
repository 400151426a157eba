"""Is a file a kernel that UEFI firmware can start? Read off its header, before anything boots."""

from __future__ import annotations

from pathlib import Path

from labkit.errors import NotAKernel

# Linux Documentation/arch/x86/boot.rst: "HdrS" at 0x202, protocol version at 0x206, xloadflags at 0x236.
_MAGIC_AT, _LOAD_FLAGS_AT = 0x202, 0x236
_EFI_HANDOVER_64 = 1 << 3


def check_kernel(path: Path) -> None:
    """Accept an x86-64 bzImage with an EFI stub.

    Raises:
        NotAKernel: anything else; the message says what the file is, where that can be told.
    """
    try:
        with path.open("rb") as file:
            header = file.read(0x400)
    except OSError as error:
        raise NotAKernel(
            f"{path} cannot be read: {error.strerror}.", "Name a bzImage with --kernel."
        ) from error
    remedy = "Name a bzImage, such as /boot/vmlinuz-* of a distribution's kernel package."
    if header[:4] == b"\x7fELF":
        raise NotAKernel(f"{path} is an ELF file, which UEFI firmware cannot start.", remedy)
    if len(header) < 0x400 or header[_MAGIC_AT : _MAGIC_AT + 4] != b"HdrS":
        raise NotAKernel(f"{path} is not a Linux kernel image.", remedy)
    flags = int.from_bytes(header[_LOAD_FLAGS_AT : _LOAD_FLAGS_AT + 2], "little")
    if header[:2] != b"MZ" or not flags & _EFI_HANDOVER_64:
        raise NotAKernel(f"{path} is a Linux kernel without a 64-bit EFI stub.", remedy)
