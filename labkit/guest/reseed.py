"""The one program of the guest that is not busybox: it makes a restored guest's randomness and time its own.

Two guests restored from one snapshot hold the same random state. Writing to ``/dev/urandom`` only
mixes bytes into the input pool, and kernels draw from that pool again minutes later. Reseeding at
once needs two ioctls of ``random(4)``, which no busybox applet makes, and Debian's cloud kernel is
built without the vmgenid driver. The clock would be busybox' matter, at the price of another program to
start. So the initramfs carries 64-bit machine code, assembled here:

    fd = open("/dev/urandom", O_WRONLY)
    read(0, text, 98) == 98             88 letters with 512 random bits, ten digits
    ioctl(fd, RNDADDENTROPY, &pool)     adds the letters, credited with 512 bits
    ioctl(fd, RNDRESEEDCRNG)            draws a new key from the pool now
    settimeofday({digits, 0}, 0)
    exit(0), or exit(1) where any of them failed
"""

from __future__ import annotations

import base64
import os
import struct

_RANDOM_BYTES, _LETTERS, _DIGITS = 64, 88, 10

_RNDADDENTROPY = 0x40085203  # include/uapi/linux/random.h
_RNDRESEEDCRNG = 0x5207
_READ, _OPEN, _IOCTL, _EXIT, _SETTIMEOFDAY = 0, 2, 16, 60, 164  # arch/x86/entry/syscalls/syscall_64.tbl
_BASE = 0x400000
_HEADERS = 64 + 56  # ELF header and one program header
_CODE = _BASE + _HEADERS


def renewal(seconds: int) -> str:
    """What the program reads from standard input, in printable characters: fresh randomness, and the time.

    seconds: since 1970, in ten digits.
    """
    return base64.b64encode(os.urandom(_RANDOM_BYTES)).decode() + f"{seconds:0{_DIGITS}}"


def program() -> bytes:
    """The program as a static ELF executable for x86-64."""
    # Two passes: the data follow the code, and their addresses do not change its length.
    size = len(_code(0, 0, 0))
    path = _CODE + size
    pool = (path + 16 + 7) & ~7
    code = _code(path, pool, _CODE)
    data = b"/dev/urandom\0".ljust(pool - path, b"\0") + struct.pack("<ii", _RANDOM_BYTES * 8, _LETTERS)
    in_file = _HEADERS + len(code) + len(data)
    elf = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        *(2, 62, 1, _CODE, 64, 0, 0, 64, 56, 1, 0, 0, 0),
    )
    in_memory = in_file + _LETTERS + _DIGITS + 32
    segment = struct.pack("<IIQQQQQQ", 1, 7, 0, _BASE, _BASE, in_file, in_memory, 0x1000)
    return elf + segment + code + data


def _code(path: int, pool: int, start: int) -> bytes:
    text = pool + 8
    digits, time = text + _LETTERS, text + 104  # a timeval, which stays zero behind its seconds
    steps = [
        _call(_OPEN, path, 1) + b"\x89\xc3" + _FAIL_IF_NEGATIVE,  # mov ebx, eax
        _call(_READ, 0, text, _LETTERS + _DIGITS)
        + b"\x83\xf8"  # cmp eax, imm8
        + bytes([_LETTERS + _DIGITS])
        + _FAIL_UNLESS_EQUAL,
        _call(_IOCTL, None, _RNDADDENTROPY, pool) + _FAIL_IF_NEGATIVE,
        _call(_IOCTL, None, _RNDRESEEDCRNG, 0) + _FAIL_IF_NEGATIVE,
        _number(digits, time) + _call(_SETTIMEOFDAY, time, 0) + _FAIL_IF_NEGATIVE,
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


def _number(digits: int, target: int) -> bytes:
    """Store what the decimal digits mean as 64 bits."""
    return (
        b"\xbe"
        + struct.pack("<I", digits)
        + b"\x31\xc0\xb9"
        + struct.pack("<I", _DIGITS)
        # mov esi, digits; xor eax, eax; mov ecx, 10; then ten times:
        # movzx edx, byte [rsi]; imul rax, rax, 10; lea rax, [rax + rdx - '0']; inc esi; dec ecx; jnz
        + b"\x0f\xb6\x16\x48\x6b\xc0\x0a\x48\x8d\x44\x10\xd0\xff\xc6\xff\xc9\x75\xee"
        + b"\x48\x89\x04\x25"
        + struct.pack("<I", target)  # mov [target], rax
    )


def _call(number: int, *arguments: int | None) -> bytes:
    """A system call; ``None`` as first argument stands for the descriptor kept in ebx."""
    loads = (b"\xbf", b"\xbe", b"\xba")  # mov edi / esi / edx, imm32
    code = b""
    for load, argument in zip(loads, arguments, strict=False):
        code += b"\x89\xdf" if argument is None else load + struct.pack("<I", argument)
    return code + b"\xb8" + struct.pack("<I", number) + b"\x0f\x05"
