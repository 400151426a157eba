"""Which generation of TDX support a host's KVM has: QEMU must be of the same one."""

from __future__ import annotations

import re
from enum import StrEnum

from labkit.host.model import LogState
from labkit.host.report import HostReport
from labkit.host.view import FactsView

# KVM_CAP_VM_TYPES, bit 5: the type of a TD in upstream KVM (Linux include/uapi/asm: KVM_X86_TDX_VM).
_UPSTREAM_VM_TYPE = 1 << 5
_FIRST_UPSTREAM = (6, 16)
_CANONICAL = ((6, 8), (6, 14))
_FIRST_CANONICAL = (6, 5)
_OWN_CODE = re.compile(r"^(?:tdx|seam|SEAM): (?!Guest detected)", re.MULTILINE)


class Generation(StrEnum):
    """The three generations of TDX in KVM; a QEMU of one cannot start a TD on another."""

    MVP = "mvp"
    CANONICAL = "canonical-6.8"
    UPSTREAM = "upstream"

    @property
    def where(self) -> str:
        """The generation in a person's words."""
        return _TITLES[self]


_TITLES = {
    Generation.MVP: "Intel's MVP kernels (5.15, 5.19 and 6.2)",
    Generation.CANONICAL: "Canonical's 6.8-intel kernels (Ubuntu 24.04)",
    Generation.UPSTREAM: "upstream kernels from 6.16",
}


def generation_of(release: str | None, vm_types: int | None = None, messages: str = "") -> Generation | None:
    """The generation of a host's KVM, or None where nothing tells it or KVM has no TDX.

    release: as ``uname -r`` prints it. vm_types: KVM's own answer to KVM_CAP_VM_TYPES, which outweighs the
    release. messages: lines of the kernel log, whose wording outweighs the kernel's name: vendors' kernels
    before 6.5 are of the MVP line.
    """
    if vm_types is not None and vm_types & _UPSTREAM_VM_TYPE:
        return Generation.UPSTREAM
    numbers = re.match(r"(\d{1,4})\.(\d{1,4})", release or "")
    version = (int(numbers[1]), int(numbers[2])) if numbers else None
    if "mvp" in (release or "") or re.search(r"^tdx: TDX module initialized\.$", messages, re.MULTILINE):
        return Generation.MVP
    if version and version < _FIRST_CANONICAL and _OWN_CODE.search(messages):
        return Generation.MVP
    if version and _CANONICAL[0] <= version <= _CANONICAL[1] and re.search(r"-intel\b", release or ""):
        return Generation.CANONICAL
    if version and version >= _FIRST_UPSTREAM:
        return Generation.UPSTREAM
    return None


def host_generation(report: HostReport) -> Generation | None:
    """The generation of the host that a report is about; None where the report does not tell it."""
    view, types = FactsView(report.facts), report.facts.get("kvm.vm_types").value
    log = report.facts.log
    messages = "\n".join(line.text for line in log.lines) if log.state is LogState.READ else ""
    return generation_of(
        view.release,
        types if isinstance(types, int) and not isinstance(types, bool) else None,
        messages,
    )
