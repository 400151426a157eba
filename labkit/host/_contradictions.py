"""Facts that do not fit together, and remarks that are not faults: shown beside the verdict, never hidden."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from labkit.host._finding import Pair
from labkit.host._message import Role
from labkit.host.view import FactsView

_TDX_VM = 5  # bit of KVM_CAP_VM_TYPES


@dataclass(frozen=True)
class Contradiction:
    """Two facts of which one must be wrong, stale, or from elsewhere."""

    text: str
    evidence: tuple[Pair, ...]

    def to_dict(self) -> dict[str, Any]:
        """Text and evidence."""
        return {
            "text": self.text,
            "evidence": [{"source": source, "value": value} for source, value in self.evidence],
        }


def contradictions(view: FactsView) -> tuple[Contradiction, ...]:
    """Every pair of facts that do not fit."""
    return tuple(
        Contradiction(text, tuple(evidence)) for text, evidence in (*_log(view), *_kvm(view), *_msr(view))
    )


def _log(view: FactsView) -> Iterator[tuple[str, list[Pair]]]:
    failures = [
        event for event in view.roles(Role.FAILURE) if event.message.id not in ("kvm-required", "kvm-failed")
    ]
    if view.has_flag("tdx_host_platform") and failures and not view.success:
        yield (
            "The CPU flag tdx_host_platform says that the platform is ready, but the log has a failure.",
            view.evidence(("cpu.flags",), failures),
        )
    if view.find("start") and view.reasons("BIOS_NOT_ENABLED"):
        yield (
            'The log says both "BIOS enabled" and "not enabled by BIOS": the first line is only the start.',
            view.evidence((), [*view.find("start"), *view.reasons("BIOS_NOT_ENABLED")]),
        )
    if view.success and failures:
        yield (
            "The log has a success line and a failure; the success line stands, for the module comes "
            "up once.",
            view.evidence((), [*view.success, *failures]),
        )
    if view.success and (view.has_flag("hypervisor") or view.tdx_cpu is False):
        yield (
            "The log has a success line, but this machine cannot have one: the log is of another machine, "
            "or this is a container or VM.",
            view.evidence(("cpu.flags", "cpu.vendor", "container"), view.success),
        )
    said = view.find("linux")
    release = view.text("kernel.release")
    if said and release and said[-1].match["release"] != release:
        yield (
            "The log is of another kernel than the one that runs.",
            view.evidence(("kernel.release",), said),
        )
    if view.success and "disk" in (view.text("power.state") or "").split():
        yield (
            "The module is up although /sys/power/state offers `disk`: after the next update the "
            "kernel may refuse.",
            view.evidence(("power.state",), view.success),
        )


def _kvm(view: FactsView) -> Iterator[tuple[str, list[Pair]]]:
    asked, types = view.flag("kvm.param.tdx"), view.number("kvm.vm_types")
    bit = None if types is None else bool(types >> _TDX_VM & 1)
    failures = [event for event in view.roles(Role.FAILURE) if event.message.reason]
    if asked and bit is False:
        yield (
            "KVM's parameter is Y, but KVM does not offer the upstream VM type of TDX: an old "
            "out-of-tree interface.",
            view.evidence(("kvm.param.tdx", "kvm.vm_types")),
        )
    if bit and view.flag("qemu.tdx") is False:
        yield "KVM offers TDX, but QEMU does not know it.", view.evidence(("kvm.vm_types", "qemu.tdx"))
    if asked and failures and not view.success:
        yield (
            "KVM's parameter is Y, but the log has a failure.",
            view.evidence(("kvm.param.tdx",), failures),
        )
    if asked is False and view.success:
        yield (
            "The module is up, but KVM's parameter is N: from 7.1 on the kernel starts the module "
            "without KVM.",
            view.evidence(("kvm.param.tdx",), view.success),
        )
    if asked is False and bit:
        yield "KVM's parameter is N, but KVM offers TDX.", view.evidence(("kvm.param.tdx", "kvm.vm_types"))


def _msr(view: FactsView) -> Iterator[tuple[str, list[Pair]]]:
    for name, fact in view.facts.items.items():
        if name.startswith("msr.") and isinstance(fact.value, tuple) and len(fact.value) > 1:
            yield f"{fact.source} differs between CPUs.", view.evidence((name,))
    for number, bit in ((0x982, 1), (0x1401, 11)):
        if view.success and view.bit(number, bit) is False:
            yield (
                f"The log has a success line, but MSR {number:#x} bit {bit} is 0.",
                view.evidence((f"msr.{number:#x}",), view.success),
            )
    if view.bit(0x1401, 11) and view.reasons("MODULE_NOT_LOADED"):
        yield (
            "MSR 0x1401 says that firmware set the SEAM range up, but no module is loaded: the bit "
            "proves no module.",
            view.evidence(("msr.0x1401",), view.reasons("MODULE_NOT_LOADED")),
        )


def remarks(view: FactsView) -> tuple[str, ...]:
    """Things worth knowing that are not a fault of the host."""
    notes = []
    runtime = view.roles(Role.RUNTIME)
    if runtime:
        count = sum(event.line.count for event in runtime)
        calls = {str(call): None for _, call in view.runtime_calls if call.harmless}
        means = f" It means: {next(iter(calls))}." if calls else ""
        notes.append(
            f"{count} run-time message(s) in the log, as `{runtime[0].line.text[:100]}`: not a failed "
            f"initialisation.{means}"
        )
    if view.log.unread:
        notes.append(
            "This line has the kernel's words in a wrapping that is not understood: "
            f"{view.log.unread[0].text}"
        )
    if "tdx_pw_mce" in (view.words("cpu.bugs") or ()):
        notes.append(
            "`tdx_pw_mce` is an erratum of this CPU, not a fault: kdump is gone on some kernels, TDX is fine."
        )
    if view.log.boots > 1:
        notes.append(f"The log holds {view.log.boots} boots; only the last one counts.")
    if view.log_readable and not view.log.from_boot and view.log.first_seconds:
        notes.append(
            f"The log starts {view.log.first_seconds:.0f} s after boot: earlier lines are lost or left out."
        )
    if view.flag("qcnl.secure") is False:
        notes.append("use_secure_cert=false: the PCCS's certificate is not checked.")
    return tuple(notes)
