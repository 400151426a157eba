"""A terminal of its own for the guest's shell, so that it has job control and Ctrl-C works.

Under Asterinas a shell straight on the console has neither; upstream's root file system runs it under
BusyBox's ``script``, which distributions leave out of their busybox. This program does what ``script`` does,
with the same system calls, and no more. It is 64-bit machine code, assembled here:

    master = open("/dev/ptmx"); unlock it; the slave is /dev/pts/N
    the slave gets the console's settings and size, the console becomes raw
    child: a session of its own, the slave as its terminal, execve(argv[1], argv + 1)
    parent: copies both ways until the slave has been closed, then exits as the child did

Where a step before the child fails, the program is executed on the console itself.
"""

from __future__ import annotations

import struct

# arch/x86/entry/syscalls/syscall_64.tbl
_READ, _WRITE, _OPEN, _CLOSE, _POLL, _IOCTL, _DUP2, _FORK, _EXECVE, _EXIT, _WAIT4, _SETSID = (
    *(0, 1, 2, 3, 7, 16, 33, 57, 59, 60, 61, 112),
)
# include/uapi/asm-generic/ioctls.h
_TCGETS, _TCSETS, _TIOCSCTTY, _TIOCGWINSZ, _TIOCSWINSZ = 0x5401, 0x5402, 0x540E, 0x5413, 0x5414
_TIOCGPTN, _TIOCSPTLCK = 0x80045430, 0x40045431
_O_RDWR, _O_NOCTTY = 0o2, 0o400
# What cfmakeraw(3) takes out of c_iflag, c_oflag and c_lflag.
_RAW = ((0, 0x5EB), (4, 0x1), (12, 0x804B))
_CC, _VTIME, _VMIN = 17, 5, 6

_BASE, _HEADERS = 0x400000, 64 + 56
_CODE = _BASE + _HEADERS
_BUFFER = 4096

_Step = bytes | tuple[str, str]
"""Code, a jump by its condition and label, or ``("label", name)``."""

_JUMPS = {"always": b"\xe9", "negative": b"\x0f\x88", "zero": b"\x0f\x84", "not positive": b"\x0f\x8e"}


def terminal_program() -> bytes:
    """The program as a static ELF executable for x86-64."""
    # Two passes: the addresses of the data do not change the length of the code before them.
    names = ("ptmx", "pts", "number", "unlock", "status", "poll", "size", "settings", "buffer")
    length = len(_assembled(_steps(dict.fromkeys(names, 0))))
    fixed = {
        "ptmx": b"/dev/ptmx\0",
        "pts": b"/dev/pts/\0\0\0",
        "number": bytes(4),
        "unlock": bytes(4),
        "status": bytes(4),
        "poll": struct.pack("<ihhihh", 0, 1, 0, 0, 1, 0),
        "size": bytes(8),
        "settings": bytes(60),
    }
    at, data = {}, b""
    for name, value in fixed.items():
        at[name] = _CODE + length + len(data)
        data += value
    at["buffer"] = _CODE + length + len(data)
    code = _assembled(_steps(at))
    in_file = _HEADERS + len(code) + len(data)
    elf = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        *(2, 62, 1, _CODE, 64, 0, 0, 64, 56, 1, 0, 0, 0),
    )
    segment = struct.pack("<IIQQQQQQ", 1, 7, 0, _BASE, _BASE, in_file, in_file + _BUFFER, 0x1000)
    return elf + segment + code + data


def _steps(at: dict[str, int]) -> list[_Step]:
    """r12: the master, or in the child the slave. r13: the child. r14: argc and argv. r15: environment."""
    master, child = b"\x44\x89\xe7", b"\x44\x89\xef"  # mov edi, r12d; mov edi, r13d
    settings, poll = at["settings"], at["poll"]
    return [
        b"\x49\x89\xe6",  # mov r14, rsp
        b"\x49\x8b\x0e\x4d\x8d\x7c\xce\x10",  # mov rcx, [r14]; lea r15, [r14 + rcx*8 + 16]
        _call(_OPEN, at["ptmx"], _O_RDWR | _O_NOCTTY),
        *_unless("exec"),
        b"\x41\x89\xc4",  # mov r12d, eax
        _call(_IOCTL, master, _TIOCSPTLCK, at["unlock"]),
        *_unless("exec"),
        _call(_IOCTL, master, _TIOCGPTN, at["number"]),
        *_unless("exec"),
        _digits(at["number"], at["pts"] + len("/dev/pts/")),
        _call(_IOCTL, 0, _TCGETS, settings),
        *_unless("exec"),
        _call(_IOCTL, master, _TCSETS, settings),
        _call(_IOCTL, 0, _TIOCGWINSZ, at["size"]),
        _call(_IOCTL, master, _TIOCSWINSZ, at["size"]),
        *(b"\x81\x24\x25" + _u32(settings + offset) + _u32(~bits) for offset, bits in _RAW),  # and [m], imm
        _store_byte(settings + _CC + _VTIME, 0) + _store_byte(settings + _CC + _VMIN, 1),
        b"\x44\x89\x24\x25" + _u32(poll + 8),  # mov [poll[1].fd], r12d
        _call(_FORK),
        *_unless("exec"),
        ("zero", "child"),
        b"\x41\x89\xc5",  # mov r13d, eax
        _call(_IOCTL, 0, _TCSETS, settings),
        ("label", "copy"),
        _call(_POLL, poll, 2, 0xFFFFFFFF),
        _is_zero(poll + 14),
        ("zero", "typed"),
        _call(_READ, master, at["buffer"], _BUFFER),
        *_unless_positive("end"),
        b"\x89\xc2" + _call(_WRITE, 1, at["buffer"]),  # mov edx, eax
        ("label", "typed"),
        _is_zero(poll + 6),
        ("zero", "copy"),
        _call(_READ, 0, at["buffer"], _BUFFER),
        *_unless_positive("deaf"),
        b"\x89\xc2" + _call(_WRITE, master, at["buffer"]),
        ("always", "copy"),
        ("label", "deaf"),
        b"\xc7\x04\x25" + _u32(poll) + _u32(-1),  # mov dword [poll[0].fd], -1
        ("always", "copy"),
        ("label", "end"),
        b"\x4d\x31\xd2" + _call(_WAIT4, child, at["status"], 0),  # xor r10, r10
        b"\x0f\xb6\x3c\x25" + _u32(at["status"] + 1) + _number(_EXIT),  # movzx edi, byte [status + 1]
        ("label", "child"),
        _call(_CLOSE, master),
        _call(_SETSID),
        _call(_OPEN, at["pts"], _O_RDWR),
        *_unless("exec"),
        b"\x41\x89\xc4",
        _call(_IOCTL, master, _TIOCSCTTY, 0),
        *(_call(_DUP2, master, number) for number in range(3)),
        _call(_CLOSE, master),
        ("label", "exec"),
        # mov rdi, [r14 + 16]; lea rsi, [r14 + 16]; mov rdx, r15
        b"\x49\x8b\x7e\x10\x49\x8d\x76\x10\x4c\x89\xfa" + _number(_EXECVE),
        _call(_EXIT, 127),
    ]


def _digits(number: int, target: int) -> bytes:
    """Write a number below 100 as digits."""
    return (
        b"\x8b\x04\x25" + _u32(number) + b"\x31\xd2\xb9\x0a\0\0\0\xf7\xf1"  # eax, edx = divmod([number], 10)
        b"\xbf" + _u32(target) + b"\x85\xc0\x74\x03"  # mov edi, target; test eax, eax; jz over the tens
        b"\x04\x30\xaa"  # add al, '0'; stosb
        b"\x88\xd0\x04\x30\xaa"  # mov al, dl; add al, '0'; stosb
    )


def _call(number: int, *arguments: int | bytes) -> bytes:
    """A system call; an argument is a number, or the code that loads edi."""
    loads = (b"\xbf", b"\xbe", b"\xba")  # mov edi / esi / edx, imm32
    words = [
        argument if isinstance(argument, bytes) else load + _u32(argument)
        for load, argument in zip(loads, arguments, strict=False)
    ]
    return b"".join(words) + _number(number)


def _number(number: int) -> bytes:
    return b"\xb8" + _u32(number) + b"\x0f\x05"  # mov eax, imm32; syscall


def _unless(label: str) -> list[_Step]:
    return [b"\x85\xc0", ("negative", label)]  # test eax, eax


def _unless_positive(label: str) -> list[_Step]:
    return [b"\x85\xc0", ("not positive", label)]


def _is_zero(address: int) -> bytes:
    return b"\x66\x83\x3c\x25" + _u32(address) + b"\0"  # cmp word [m], 0


def _store_byte(address: int, value: int) -> bytes:
    return b"\xc6\x04\x25" + _u32(address) + bytes([value])


def _u32(value: int) -> bytes:
    return struct.pack("<I", value & 0xFFFFFFFF)


def _assembled(steps: list[_Step]) -> bytes:
    """The code, its jumps resolved; each of them has a distance of 32 bits."""
    places: dict[str, int] = {}
    at = 0
    for step in steps:
        if isinstance(step, tuple) and step[0] == "label":
            places[step[1]] = at
        else:
            at += len(step) if isinstance(step, bytes) else len(_JUMPS[step[0]]) + 4
    code = b""
    for step in steps:
        if isinstance(step, bytes):
            code += step
        elif step[0] != "label":
            end = len(code) + len(_JUMPS[step[0]]) + 4
            code += _JUMPS[step[0]] + struct.pack("<i", places[step[1]] - end)
    return code
