"""The one program of the guest that is not busybox: it makes a restored guest's randomness its own.

Two guests restored from one snapshot hold the same random state. Writing to ``/dev/urandom`` only
mixes bytes into the input pool, and kernels draw from that pool again minutes later. Reseeding at
once needs two ioctls of ``random(4)``, which no busybox applet makes, and Debian's cloud kernel is
built without the vmgenid driver. So the initramfs carries 64-bit machine code, assembled here:

    fd = open("/dev/urandom", O_WRONLY)
    read(0, pool.bytes, 64) == 64
    ioctl(fd, RNDADDENTROPY, &pool)     adds the host's 64 bytes, credited with 512 bits
    ioctl(fd, RNDRESEEDCRNG)            draws a new key from the pool now
    exit(0), or exit(1) where any of them failed
"""

from __future__ import annotations

import struct

SEED_BYTES = 64
"""Length of the seed that the program reads from standard input."""

_RNDADDENTROPY = 0x40085203  # include/uapi/linux/random.h
_RNDRESEEDCRNG = 0x5207
_READ, _OPEN, _IOCTL, _EXIT = 0, 2, 16, 60  # arch/x86/entry/syscalls/syscall_64.tbl
_BASE = 0x400000
_HEADERS = 64 + 56  # ELF header and one program header
_CODE = _BASE + _HEADERS


def program() -> bytes:
    """The program as a static ELF executable for x86-64."""
    # Two passes: the data follow the code, and their addresses do not change its length.
    size = len(_code(0, 0, 0))
    path = _CODE + size
    pool = (path + 16 + 7) & ~7
    code = _code(path, pool, _CODE)
    data = b"/dev/urandom\0".ljust(pool - path, b"\0") + struct.pack("<ii", SEED_BYTES * 8, SEED_BYTES)
    in_file = _HEADERS + len(code) + len(data)
    elf = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        *(2, 62, 1, _CODE, 64, 0, 0, 64, 56, 1, 0, 0, 0),
    )
    segment = struct.pack("<IIQQQQQQ", 1, 7, 0, _BASE, _BASE, in_file, in_file + SEED_BYTES, 0x1000)
    return elf + segment + code + data


def _code(path: int, pool: int, start: int) -> bytes:
    read_bytes = pool + 8
    steps = [
        _call(_OPEN, path, 1) + b"\x89\xc3" + _FAIL_IF_NEGATIVE,  # mov ebx, eax
        _call(_READ, 0, read_bytes, SEED_BYTES) + b"\x83\xf8" + bytes([SEED_BYTES]) + _FAIL_UNLESS_EQUAL,
        _call(_IOCTL, None, _RNDADDENTROPY, pool) + _FAIL_IF_NEGATIVE,
        _call(_IOCTL, None, _RNDRESEEDCRNG, 0) + _FAIL_IF_NEGATIVE,
        _call(_EXIT, 0),
    ]
    fail = _call(_EXIT, 1)
    code = b"".join(steps)
    # Every failing branch is `jcc rel32` with a zero distance; point each at the end of the code.
    for jump in (b"\x0f\x88\0\0\0\0", b"\x0f\x85\0\0\0\0"):
        at = code.find(jump)
        while at >= 0:
            distance = struct.pack("<i", len(code) - (at + 6))
            code = code[: at + 2] + distance + code[at + 6 :]
            at = code.find(jump)
    return code + fail


_FAIL_IF_NEGATIVE = b"\x85\xc0\x0f\x88\0\0\0\0"  # test eax, eax; js fail
_FAIL_UNLESS_EQUAL = b"\x0f\x85\0\0\0\0"  # jne fail


def _call(number: int, *arguments: int | None) -> bytes:
    """A system call; ``None`` as first argument stands for the descriptor kept in ebx."""
    loads = (b"\xbf", b"\xbe", b"\xba")  # mov edi / esi / edx, imm32
    code = b""
    for load, argument in zip(loads, arguments, strict=False):
        code += b"\x89\xdf" if argument is None else load + struct.pack("<I", argument)
    return code + b"\xb8" + struct.pack("<I", number) + b"\x0f\x05"
