"""A Linux kernel as the firmware measures it: QEMU's changes to its header, then the Authenticode digest.

Sources: QEMU ``hw/i386/x86.c`` (``x86_load_linux``), Linux ``Documentation/arch/x86/boot.rst``, Microsoft's
"Windows Authenticode Portable Executable Signature Format".
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from itertools import pairwise

from labkit.errors import NotAKernel
from labkit.measure.hob import low_memory

_SETUP_MAGIC = 0x202
# QEMU keeps room for ACPI tables below the end of low memory.
_ACPI_DATA = 0x28000
_LOADER_QEMU = 0xB0
_CAN_USE_HEAP = 0x80
_ABOVE_4G = 1 << 1
_MAX_KERNEL = 512 << 20
_VGA_WORDS = {"normal": 0xFFFF, "ext": 0xFFFE, "ask": 0xFFFD}
# Up to and with the directory entry of the signatures, in the 64-bit layout.
_OPTIONAL_HEADER = 152
_STUB_EVENT = b"LOADED_IMAGE::LoadOptions"
# EFI_TCG2_PROTOCOL_GUID as it lies in memory; compilers put its halves into the stub's code one by one.
_TCG2_PROTOCOL = uuid.UUID("607f766c-7455-42be-930b-e4d76db2720f").bytes_le
_REMEDY = "Give a bzImage with an EFI stub, such as Debian's /boot/vmlinuz-*."


def patch_header(kernel: bytes, memory: int, initrd_size: int, command_line: str) -> bytes:
    """The kernel after QEMU has written loader, heap, command line and initrd into its set-up header.

    memory: bytes of the machine; below 2.75 GiB the initrd's address, and so the digest, follows it.

    Raises:
        NotAKernel: there is no set-up header of protocol 2.02 or later.
    """
    if len(kernel) < 0x250 or kernel[_SETUP_MAGIC : _SETUP_MAGIC + 4] != b"HdrS":
        raise NotAKernel("The file has no Linux set-up header.", _REMEDY)
    (protocol,) = struct.unpack_from("<H", kernel, 0x206)
    if protocol < 0x203:
        raise NotAKernel(f"The kernel speaks boot protocol {protocol:#x}, older than 2.03.", _REMEDY)
    header = bytearray(kernel[:0x250])
    mode = _video_mode(command_line)
    if mode is not None:
        struct.pack_into("<H", header, 0x1FA, mode)
    header[0x210] = _LOADER_QEMU
    header[0x211] |= _CAN_USE_HEAP
    struct.pack_into("<H", header, 0x224, 0xFE00)
    struct.pack_into("<I", header, 0x228, 0x20000)
    if initrd_size:
        address = _initrd_address(kernel, protocol, memory, initrd_size)
        struct.pack_into("<II", header, 0x218, address, initrd_size)
    return bytes(header) + kernel[0x250:]


def _initrd_address(kernel: bytes, protocol: int, memory: int, size: int) -> int:
    (highest,) = struct.unpack_from("<I", kernel, 0x22C)
    (load_flags,) = struct.unpack_from("<H", kernel, 0x236)
    if protocol >= 0x20C and load_flags & _ABOVE_4G:
        highest = 0xFFFF_FFFF
    limit = low_memory(memory) - _ACPI_DATA
    highest = min(highest, limit - 1)
    if size > highest:
        raise NotAKernel(
            f"An initrd of {size} bytes does not fit {memory} bytes of memory.", "Give more memory."
        )
    return int(highest - size) & ~0xFFF


def _video_mode(command_line: str) -> int | None:
    """The video mode QEMU takes from ``vga=``; other words than numbers and three names are left alone."""
    _, found, rest = command_line.partition("vga=")
    word = rest.split(" ", 1)[0]
    if not found:
        return None
    if word in _VGA_WORDS:
        return _VGA_WORDS[word]
    try:
        return int(word, 0) & 0xFFFF
    except ValueError:
        return None


def stub_measures(kernel: bytes) -> bool:
    """The kernel's EFI stub has its command line and initrd measured, as Linux' does from 6.1 on.

    Told by the description that it gives such an event (Linux ``drivers/firmware/efi/libstub``); the stub
    is the part of a bzImage that is not compressed.
    """
    return _STUB_EVENT in kernel


def silence_stub(kernel: bytes) -> bytes:
    """The same Linux with an EFI stub that has nothing measured: a stand-in for kernels that measure nothing.

    The stub looks for the firmware's TPM protocol by a GUID. With another one it finds none, and goes on; the
    description, by which ``stub_measures`` tells, goes as well.

    Raises:
        NotAKernel: the stub has nothing measured as it is, or not in this way.
    """
    half = _TCG2_PROTOCOL[:8]
    if half not in kernel or not stub_measures(kernel):
        raise NotAKernel("This kernel's EFI stub does not ask for a TPM in the known way.", _REMEDY)
    return kernel.replace(half, bytes(8)).replace(_STUB_EVENT, b"-" * len(_STUB_EVENT))


def authenticode(image: bytes) -> bytes:
    """The SHA-384 Authenticode digest of a PE image: all but checksum, signature entry and signatures.

    Raises:
        NotAKernel: the file is not a PE image, or its tables point outside it.
    """
    if len(image) > _MAX_KERNEL:
        raise NotAKernel(f"The image has {len(image)} bytes, too many for a kernel.", _REMEDY)
    optional, sections_at, count = _pe_header(image)
    (magic,) = struct.unpack_from("<H", image, optional)
    if magic not in (0x10B, 0x20B):
        raise NotAKernel(f"The optional header of the PE image has magic {magic:#x}.", _REMEDY)
    (headers_size,) = struct.unpack_from("<I", image, optional + 60)
    directories = optional + (96 if magic == 0x10B else 112)
    checksum, entry = optional + 64, directories + 4 * 8
    (entries,) = struct.unpack_from("<I", image, directories - 4)
    signature_size = 0
    if entries > 4:
        _, signature_size = struct.unpack_from("<II", image, entry)
    digest = hashlib.sha384()
    cuts = [(0, checksum), (checksum + 4, entry if entries > 4 else headers_size)]
    if entries > 4:
        cuts.append((entry + 8, headers_size))
    for begin, end in cuts:
        _within(image, begin, end)
        digest.update(image[begin:end])
    hashed = headers_size
    for begin, size in _sections(image, sections_at, count):
        _within(image, begin, begin + size)
        digest.update(image[begin : begin + size])
        hashed += size
    if len(image) < hashed + signature_size:
        raise NotAKernel("The signatures of the PE image are longer than what is left of it.", _REMEDY)
    digest.update(image[hashed : len(image) - signature_size])
    return digest.digest()


def _pe_header(image: bytes) -> tuple[int, int, int]:
    """Offsets of the optional header and of the section table, and the number of sections."""
    if len(image) < 0x40 or image[:2] != b"MZ":
        raise NotAKernel("The file is not a PE image: it has no EFI stub.", _REMEDY)
    (offset,) = struct.unpack_from("<I", image, 0x3C)
    if offset + 24 > len(image) or image[offset : offset + 4] != b"PE\0\0":
        raise NotAKernel("The file is not a PE image: it has no EFI stub.", _REMEDY)
    (count,) = struct.unpack_from("<H", image, offset + 6)
    (optional_size,) = struct.unpack_from("<H", image, offset + 20)
    optional = offset + 24
    if optional_size < _OPTIONAL_HEADER or optional + optional_size + 40 * count > len(image):
        raise NotAKernel("The headers of the PE image run past its end.", _REMEDY)
    return optional, optional + optional_size, count


def _sections(image: bytes, table: int, count: int) -> list[tuple[int, int]]:
    """Offset and size of each section that has data, by offset; overlapping ones are refused."""
    rows = []
    for number in range(count):
        size, begin = struct.unpack_from("<II", image, table + 40 * number + 16)
        if size:
            rows.append((begin, size))
    rows.sort()
    for (begin, size), (following, _) in pairwise(rows):
        if begin + size > following:
            raise NotAKernel("The sections of the PE image overlap.", _REMEDY)
    return rows


def _within(image: bytes, begin: int, end: int) -> None:
    if not 0 <= begin <= end <= len(image):
        raise NotAKernel("A part of the PE image lies outside the file.", _REMEDY)
