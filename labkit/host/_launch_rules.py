"""Rules of the launch track: the module is up, can a TD be started?"""

from __future__ import annotations

import re

from labkit.host._finding import Finding, failed, passed, unknown
from labkit.host.view import FactsView

_UPSTREAM_QEMU = (10, 1)


def kernel_for_cpu(view: FactsView) -> Finding:
    """A kernel line that brings the module up on this CPU, and cannot start its TDs."""
    evidence = view.evidence(("kernel.release", "cpu.name"), [*view.find("linux"), *view.find("cpu")])
    if view.release is None or not (view.xeon_6 or view.tdx_cpu):
        return unknown(evidence)
    if view.xeon_6 and re.match(r"6\.8\.\d+-\d+-intel\b", view.release):
        return failed(
            evidence,
            f"Linux {view.release} is of Canonical's 6.8 line, which cannot start TDs on a Xeon 6.",
            "Boot a kernel that can, and pin it: Canonical's 6.11-intel or later, or upstream from 6.16 on.",
        )
    return passed(evidence)


def kvm_intel(view: FactsView) -> Finding:
    """/sys/module/kvm_intel is there when it is loaded or built in."""
    loaded = view.flag("kvm.intel_module")
    evidence = view.evidence(("kvm.intel_module",))
    if loaded is None:
        return unknown(evidence)
    return passed(evidence) if loaded else failed(evidence)


def dev_kvm(view: FactsView) -> Finding:
    """/dev/kvm opens for this login."""
    fact = view.fact("kvm.device")
    evidence = view.evidence(("kvm.device", "container"))
    if fact.value is True:
        return passed(evidence)
    if fact.value is False:
        where = " in this container" if view.flag("container") else ""
        return failed(evidence, f"There is no /dev/kvm{where}.")
    return failed(evidence) if fact.missing == "denied" else unknown(evidence)


def qemu(view: FactsView) -> Finding:
    """`-object help` lists tdx-guest."""
    able = view.flag("qemu.tdx")
    evidence = view.evidence(("qemu.path", "qemu.version", "qemu.tdx"))
    if able is None:
        return unknown(evidence)
    return passed(evidence) if able else failed(evidence)


def qemu_kvm(view: FactsView) -> Finding:
    """QEMU and KVM speak the same TDX interface."""
    evidence = view.evidence(("qemu.version", "kvm.vm_types"))
    version, types = view.text("qemu.version") or "", view.number("kvm.vm_types")
    match = re.match(r"(\d{1,4})\.(\d{1,4})", version)
    numbers = (int(match[1]), int(match[2])) if match else ()
    if not numbers or types is None:
        return unknown(evidence)
    upstream_kvm = bool(types >> 5 & 1)
    # On Intel the bit of SEV can only be the TDX type of the old out-of-tree kernels.
    old_kvm = not upstream_kvm and bool(types >> 2 & 1)
    if old_kvm and numbers >= _UPSTREAM_QEMU:
        return failed(evidence, "QEMU is of the upstream generation, KVM of the old one.")
    if upstream_kvm and (numbers < (10, 0) or ("+tdx" in version and numbers < _UPSTREAM_QEMU)):
        return failed(evidence, "KVM is of the upstream generation, QEMU of an older one.")
    return passed(evidence) if upstream_kvm and numbers >= _UPSTREAM_QEMU else unknown(evidence)


def tdvf(view: FactsView) -> Finding:
    """Some firmware image carries TDVF metadata."""
    images = view.words("tdvf")
    evidence = view.evidence(("tdvf",))
    if images is None:
        return unknown(evidence)
    return passed(evidence) if images else failed(evidence)


def keyids_free(view: FactsView) -> Finding:
    """The misc cgroup has KeyIDs left."""
    capacity, current = view.number("cgroup.tdx_capacity"), view.number("cgroup.tdx_current")
    evidence = view.evidence(("cgroup.tdx_capacity", "cgroup.tdx_current"))
    if capacity is None or current is None:
        return unknown(evidence)
    if current >= capacity:
        return failed(evidence, f"{current} of {capacity} are taken.")
    return passed(evidence, f"{capacity - current} of {capacity} are free.")
