"""The one program of the guest that is not busybox: it makes a restored guest's randomness and time its own.

Two guests restored from one snapshot hold the same random state. Writing to ``/dev/urandom`` only
mixes bytes into the input pool, and kernels draw from that pool again minutes later. Reseeding at
once needs two ioctls of ``random(4)``, which no busybox applet makes, and Debian's cloud kernel is
built without the vmgenid driver. The clock would be busybox' matter, at the price of another program to
start. So the initramfs carries 64-bit machine code, assembled here:

    fd = open("/dev/urandom", O_WRONLY)
    while ((size = read(0, line, 99)) == 99) {    88 letters with 512 random bits, ten digits, a newline
        ioctl(fd, RNDADDENTROPY, &pool)           adds the letters, credited with 512 bits
        ioctl(fd, RNDRESEEDCRNG)                  draws a new key from the pool now
        settimeofday({digits, 0}, 0)
        write(1, line + 78, 21)                   the end of the line: it is done
    }
    exit(0) where size is 0, or exit(1) where any of them failed

A program that starts in a guest that was just restored costs more than all the rest of that: the emulator has
translated nothing yet. So init starts it, it waits at one pipe and answers at another, and a shell needs
nothing but its own words to have it renew the guest.
"""

from __future__ import annotations

import base64
import os
import struct

SEED, SEEDED = "etc/seed", "etc/seeded"
"""The pipes at which the waiting program reads and answers, below the guest's root."""

SERVE = f"labkit-reseed <>/{SEED} 1<>/{SEEDED} &"
"""The line of the guest's init that has it wait."""

_RANDOM_BYTES, _LETTERS, _DIGITS = 64, 88, 10
_LINE, _ANSWER = _LETTERS + _DIGITS + 1, 21

_RNDADDENTROPY = 0x40085203  # include/uapi/linux/random.h
_RNDRESEEDCRNG = 0x5207
_READ, _WRITE, _OPEN, _IOCTL = 0, 1, 2, 16  # arch/x86/entry/syscalls/syscall_64.tbl
_EXIT, _SETTIMEOFDAY = 60, 164
_BASE = 0x400000
_HEADERS = 64 + 56  # ELF header and one program header
_CODE = _BASE + _HEADERS


def renewal(seconds: int) -> tuple[str, str]:
    """Two commands that give a guest fresh randomness and the time, with exit status 0 where that was done.

    The first asks the program that waits, and waits for ever where nobody does (it was killed); the second
    starts the program. The wait cannot be limited in the guest: its clock jumps meanwhile.
    seconds: since 1970, in ten digits.
    """
    asked, started = (
        base64.b64encode(os.urandom(_RANDOM_BYTES)).decode() + f"{seconds:0{_DIGITS}}" for _ in range(2)
    )
    done = asked[1 - _ANSWER :]
    return (
        f"echo {asked} 1<>/{SEED}&&read -r _done <>/{SEEDED}&&[ $_done. = {done}. ]&&unset _done",
        f"labkit-reseed >/dev/null <<E\n{started}\nE",
    )


def program() -> bytes:
    """The program as a static ELF executable for x86-64."""
    # Two passes: the data follow the code, and their addresses do not change its length.
    size = len(_code(0, 0))
    path = _CODE + size
    pool = (path + 16 + 7) & ~7
    code = _code(path, pool)
    data = b"/dev/urandom\0".ljust(pool - path, b"\0") + struct.pack("<ii", _RANDOM_BYTES * 8, _LETTERS)
    in_file = _HEADERS + len(code) + len(data)
    elf = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        *(2, 62, 1, _CODE, 64, 0, 0, 64, 56, 1, 0, 0, 0),
    )
    in_memory = in_file + _LINE + 32
    segment = struct.pack("<IIQQQQQQ", 1, 7, 0, _BASE, _BASE, in_file, in_memory, 0x1000)
    return elf + segment + code + data


# A place in the code, and jumps to one: `test eax, eax` with `js` or `jz`, `jne`, `jmp`.
_AGAIN, _END, _FAIL = "again", "end", "fail"
_FAIL_IF_NEGATIVE = (b"\x85\xc0\x0f\x88", _FAIL)
_END_IF_ZERO = (b"\x85\xc0\x0f\x84", _END)
_FAIL_UNLESS_EQUAL = (b"\x0f\x85", _FAIL)
_LOOP = (b"\xe9", _AGAIN)

_Step = bytes | str | tuple[bytes, str]


def _code(path: int, pool: int) -> bytes:
    line = pool + 8
    digits, time = line + _LETTERS, line + 104  # a timeval, which stays zero behind its seconds
    return _linked(
        [
            *(_call(_OPEN, path, 1) + b"\x89\xc3", _FAIL_IF_NEGATIVE),  # mov ebx, eax
            *(_AGAIN, _call(_READ, 0, line, _LINE), _END_IF_ZERO),
            *(b"\x83\xf8" + bytes([_LINE]), _FAIL_UNLESS_EQUAL),  # cmp eax, imm8
            *(_call(_IOCTL, None, _RNDADDENTROPY, pool), _FAIL_IF_NEGATIVE),
            *(_call(_IOCTL, None, _RNDRESEEDCRNG, 0), _FAIL_IF_NEGATIVE),
            *(_number(digits, time) + _call(_SETTIMEOFDAY, time, 0), _FAIL_IF_NEGATIVE),
            *(_call(_WRITE, 1, line + _LINE - _ANSWER, _ANSWER), _FAIL_IF_NEGATIVE, _LOOP),
            *(_END, _call(_EXIT, 0), _FAIL, _call(_EXIT, 1)),
        ]
    )


def _linked(steps: list[_Step]) -> bytes:
    """The code with the distance of every jump, 32 bits behind its opcode."""
    places: dict[str, int] = {}
    at = 0
    for step in steps:
        if isinstance(step, str):
            places[step] = at
        else:
            at += len(step) if isinstance(step, bytes) else len(step[0]) + 4
    code = b""
    for step in steps:
        if isinstance(step, tuple):
            code += step[0] + struct.pack("<i", places[step[1]] - (len(code) + len(step[0]) + 4))
        elif isinstance(step, bytes):
            code += step
    return code


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
