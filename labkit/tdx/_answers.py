"""How a correct host answers each TDVMCALL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from labkit.tdx._platform import Platform
from labkit.tdx._result import Result
from labkit.tdx.ghci import QUOTE_ERROR, QUOTE_HEADER, QUOTE_UNAVAILABLE, Vmcall, VmcallStatus
from labkit.tdx.states import TRAITS, Septe

PAGE = 0x1000


@dataclass
class Td:
    """The VMM's record of one TD: addresses of its TDR and TDVPRs, KeyID, and the pages it gave."""

    tdr: int
    hkid: int
    vcpus: list[int] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    tables: set[tuple[int, int]] = field(default_factory=set)
    top: int = 4
    shared_bit: int = 1 << 51

    def __repr__(self) -> str:
        return f"<Td EMULATED tdr={self.tdr:#x} KeyID {self.hkid}>"


class AnsweringHost(Protocol):
    """What the answers need of the VMM that gives them."""

    platform: Platform
    console: bytearray
    cpuid: dict[tuple[int, int], tuple[int, int, int, int]]
    msrs: dict[int, int]
    mmio: dict[int, int]
    quote_service: Callable[[bytes], bytes] | None

    def aug(self, td: Td, gpa: int) -> int: ...

    def remove(self, td: Td, gpa: int) -> int: ...

    def share(self, td: Td, gpa: int) -> int: ...

    def shared(self, td: Td) -> dict[int, int]: ...


def _on_cpuid(vmm: AnsweringHost, _: Td, exit_: Result) -> dict[str, int]:
    words = vmm.cpuid.get((exit_["r12"], exit_["r13"]), (0, 0, 0, 0))
    return {"r10": 0, **dict(zip(("r12", "r13", "r14", "r15"), words, strict=True))}


def _on_io(vmm: AnsweringHost, _: Td, exit_: Result) -> dict[str, int]:
    if exit_["r13"]:
        if exit_["r14"] == 0x3F8:
            vmm.console.append(exit_["r15"] & 0xFF)
        return {"r10": 0}
    return {"r10": 0, "r11": (1 << 8 * exit_["r12"]) - 1}


def _on_rdmsr(vmm: AnsweringHost, _: Td, exit_: Result) -> dict[str, int]:
    value = vmm.msrs.get(exit_["r12"])
    return {"r10": VmcallStatus.INVALID_OPERAND} if value is None else {"r10": 0, "r11": value}


def _on_wrmsr(vmm: AnsweringHost, _: Td, exit_: Result) -> dict[str, int]:
    vmm.msrs[exit_["r12"]] = exit_["r13"]
    return {"r10": 0}


def _on_mmio(vmm: AnsweringHost, _: Td, exit_: Result) -> dict[str, int]:
    if exit_["r13"]:
        vmm.mmio[exit_["r14"]] = exit_["r15"]
        return {"r10": 0}
    return {"r10": 0, "r11": vmm.mmio.get(exit_["r14"], 0)}


def _on_map_gpa(vmm: AnsweringHost, td: Td, exit_: Result) -> dict[str, int]:
    """MapGPA is a request: the host changes its side, the guest must accept or stop using the page."""
    gpa, size = exit_["r12"], exit_["r13"]
    if gpa % PAGE or size % PAGE:
        return {"r10": VmcallStatus.ALIGN_ERROR}
    if not size or gpa + size > td.shared_bit << 1:
        return {"r10": VmcallStatus.INVALID_OPERAND}
    for page in range(gpa, gpa + size, PAGE):
        private = page & td.shared_bit - 1
        seen = vmm.platform.seamcall("TDH.MEM.SEPT.RD", rcx=private, rdx=td.tdr)
        mapped = seen.ok and seen["rdx"] >> 8 != TRAITS[Septe.FREE].public
        if page & td.shared_bit:
            if mapped:
                vmm.remove(td, private)
            vmm.share(td, page)
        else:
            vmm.shared(td).pop(private >> 12, None)
            if not mapped:
                vmm.aug(td, private)
    return {"r10": 0}


def _on_get_quote(vmm: AnsweringHost, td: Td, exit_: Result) -> dict[str, int]:
    """GetQuote: header and TDREPORT in a shared buffer; answered at once here."""
    gpa, size = exit_["r12"], exit_["r13"]
    target = vmm.shared(td).get((gpa & td.shared_bit - 1) >> 12)
    if not gpa & td.shared_bit or gpa % PAGE or size != PAGE or target is None:
        return {"r10": VmcallStatus.INVALID_OPERAND}
    version, _, length, _ = QUOTE_HEADER.unpack(vmm.platform.read(target, QUOTE_HEADER.size))
    room = size - QUOTE_HEADER.size
    status, quote = QUOTE_UNAVAILABLE, b""
    if vmm.quote_service is not None:
        status = QUOTE_ERROR
        if length == 1024:
            quote = vmm.quote_service(vmm.platform.read(target + QUOTE_HEADER.size, length))
            if len(quote) <= room:
                status = 0
    head = QUOTE_HEADER.pack(version, status, length, 0 if status else len(quote))
    vmm.platform.write(target, head + (b"" if status else quote))
    return {"r10": 0}


def _on_nothing(_: AnsweringHost, __: Td, ___: Result) -> dict[str, int]:
    return {"r10": 0}


def _on_info(_: AnsweringHost, __: Td, ___: Result) -> dict[str, int]:
    return {"r10": 0, "r11": 0, "r12": 0, "r13": 0, "r14": 0}


ANSWERS: dict[int, Callable[[AnsweringHost, Td, Result], dict[str, int]]] = {
    Vmcall.CPUID: _on_cpuid,
    Vmcall.IO: _on_io,
    Vmcall.RDMSR: _on_rdmsr,
    Vmcall.WRMSR: _on_wrmsr,
    Vmcall.MMIO: _on_mmio,
    Vmcall.WBINVD: _on_nothing,
    Vmcall.GET_TD_VM_CALL_INFO: _on_info,
    Vmcall.MAP_GPA: _on_map_gpa,
    Vmcall.GET_QUOTE: _on_get_quote,
    Vmcall.REPORT_FATAL_ERROR: _on_nothing,
    Vmcall.SETUP_EVENT_NOTIFY_INTERRUPT: _on_nothing,
}
