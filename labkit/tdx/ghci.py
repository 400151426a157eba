"""TDVMCALL: the functions a guest asks of its host, their numbers, and the statuses of the answers.

Numbers after Intel's Guest-Host Communication Interface specification and Linux'
``arch/x86/include/asm/shared/tdx.h``; WBINVD (54) could not be checked.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from enum import IntEnum
from typing import Any

from labkit.tdx._result import Load, Operation, Result, Store, Tdcall
from labkit.tdx._vp import GPRS


class Vmcall(IntEnum):
    """Function number in R11."""

    CPUID = 10
    HLT = 12
    IO = 30
    RDMSR = 31
    WRMSR = 32
    MMIO = 48
    WBINVD = 54
    PCONFIG = 65
    GET_TD_VM_CALL_INFO = 0x10000
    MAP_GPA = 0x10001
    GET_QUOTE = 0x10002
    REPORT_FATAL_ERROR = 0x10003
    SETUP_EVENT_NOTIFY_INTERRUPT = 0x10004


class VmcallStatus(IntEnum):
    """The host's answer in R10."""

    SUCCESS = 0
    RETRY = 1
    INVALID_OPERAND = 0x8000000000000000
    GPA_INUSE = 0x8000000000000001
    ALIGN_ERROR = 0x8000000000000002


QUOTE_IN_FLIGHT = 0xFFFFFFFFFFFFFFFF
QUOTE_ERROR = 0x8000000000000000
QUOTE_UNAVAILABLE = 0x8000000000000001
QUOTE_HEADER = struct.Struct("<QQII")

# R10 to R15 go to the host and come back.
_MASK = sum(1 << GPRS.index(name) for name in ("r10", "r11", "r12", "r13", "r14", "r15"))


def vmcall(function: int, **regs: int) -> Generator[Operation, Any, dict[str, int]]:
    """In a guest program: call the host; returns the registers as the host left them."""
    result: Result = yield Tdcall("TDG.VP.VMCALL", {"rcx": _MASK, "r10": 0, "r11": function, **regs})
    return result.regs


def accept(gpa: int, level: int = 0) -> Generator[Operation, Any, Result]:
    """In a guest program: accept an offered page."""
    result: Result = yield Tdcall("TDG.MEM.PAGE.ACCEPT", {"rcx": gpa | level})
    return result


def report(buffer: int, report_data: bytes) -> Generator[Operation, Any, bytes]:
    """In a guest program: make a TDREPORT in 2 KiB of private memory (1,024-aligned); returns its bytes."""
    yield Store(buffer + 1024, report_data.ljust(64, b"\0"))
    yield Tdcall("TDG.MR.REPORT", {"rcx": buffer, "rdx": buffer + 1024, "r8": 0})
    data: bytes = yield Load(buffer, 1024)
    return data


def extend(buffer: int, index: int, digest: bytes) -> Generator[Operation, Any, Result]:
    """In a guest program: extend RTMR index by a 48-byte digest, through 64 bytes of private memory."""
    yield Store(buffer, digest.ljust(64, b"\0"))
    result: Result = yield Tdcall("TDG.MR.RTMR.EXTEND", {"rcx": buffer, "rdx": index})
    return result
