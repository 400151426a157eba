"""A filter of system calls for the sandbox: what would take memory that no limit counts, or move its walls.

RLIMIT_AS counts what a process has mapped. Memory of ``memfd_create``, of System V and of a file system that
somebody mounts in namespaces of their own is not.
"""

from __future__ import annotations

import struct

_X86_64 = 0xC000003E  # AUDIT_ARCH_X86_64, linux/audit.h
_X32 = 0x40000000
_LOAD, _EQUAL, _AT_LEAST, _MASKED, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # linux/bpf_common.h
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # struct seccomp_data, linux/seccomp.h
_KILL, _ALLOW, _NOT_PERMITTED, _NOT_THERE = 0x80000000, 0x7FFF0000, 0x00050001, 0x00050026
_CLONE, _CLONE3, _NEW_USER = 56, 435, 0x10000000

REFUSED = {
    "memfd_create": 319,
    "memfd_secret": 447,
    "shmget": 29,
    "semget": 64,
    "msgget": 68,
    "mq_open": 240,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "mount": 165,
    "move_mount": 429,
    "fsopen": 430,
    "fsmount": 432,
    "unshare": 272,
    "setns": 308,
    "ptrace": 101,
    "process_vm_writev": 311,
    "bpf": 321,
    "perf_event_open": 298,
    "userfaultfd": 323,
    "io_uring_setup": 425,
}
"""System calls of x86-64 that fail inside, with EPERM, by number (asm/unistd_64.h)."""


def seccomp_filter() -> bytes:
    """The program for the kernel, as ``bwrap --seccomp`` takes it.

    ``clone`` may make processes and threads, but no user namespace; ``clone3``, whose flags a filter cannot
    see, is not there, and the C library falls back to ``clone``.
    """
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _X86_64),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
        (_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _NOT_THERE),
    ]
    for number in REFUSED.values():
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _NOT_PERMITTED)]
    program += [
        (_EQUAL, 1, 0, _CLONE),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_MASKED, 0, 1, _NEW_USER),
        (_RETURN, 0, 0, _NOT_PERMITTED),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("<HBBI", *step) for step in program)
