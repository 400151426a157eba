"""Rules of the host track: from the facts to "the TDX module is up", one function a check."""

from __future__ import annotations

import re

from labkit.host._finding import Finding, Pair, failed, passed, unknown
from labkit.host._message import Role
from labkit.host.model import CheckStatus, LogState
from labkit.host.seamcall import ERRNO
from labkit.host.view import FactsView, LogMatch

_TME, _KEYIDS, _SEAMRR = 0x982, 0x87, 0x1401
UPDATE_MODULE = "Update the TDX module: a BIOS update, or newer module files in \\EFI\\TDX\\; then cold boot."
_UPDATE_LOST = (
    "Cold boot: the BIOS then loads its own module. Take module files that fit it before the next update."
)
_VIRTUALISATION = "In the BIOS enable virtualisation (VMX, Intel VT-x), then cold boot."
# Options that switch off what KVM needs for TDX.
_CONFLICT = re.compile(
    r"(?:kvm[_-]intel\.(?:ept|enable_apicv|eptad|unrestricted_guest)|kvm\.(?:tdp_mmu|enable_virt_at_load))=(?:0|n|N|off)"
)


def not_td_guest(view: FactsView) -> Finding:
    """Guest messages, the guest device and the guest flag all say: this is a TD."""
    guest = view.roles(Role.GUEST)
    evidence = view.evidence(("cpu.flags", "guest.device"), guest)
    signs = (view.has_flag("tdx_guest"), view.flag("guest.device"))
    if guest or any(signs):
        return failed(evidence)
    if view.success or view.find("start") or False in signs:
        return passed(evidence)
    return unknown(evidence)


def bare_metal(view: FactsView) -> Finding:
    """The hypervisor flag of CPUID, or the hypervisor that the kernel met."""
    flag = view.has_flag("hypervisor")
    said = [*view.find("hypervisor"), *view.reasons("INSIDE_VM")]
    evidence = view.evidence(("cpu.flags", "dmi.vendor", "dmi.product"), said)
    if flag is None and said and not view.success:
        return failed(evidence, f"Its kernel says: {said[-1].line.text}.")
    if flag is None:
        return unknown(evidence)
    if not flag:
        return passed(evidence)
    vendor = (
        f" Its CPU is from {view.vendor}, which has no TDX." if view.vendor not in (None, "Intel") else ""
    )
    return failed(evidence, f"The CPU reports a hypervisor around it.{vendor}")


def platform(view: FactsView) -> Finding:
    """Operating system, architecture, vendor, CPU model, and the kernel's own word."""
    facts = ("system.os", "system.machine", "cpu.vendor", "cpu.family", "cpu.model", "cpu.name")
    system, machine = view.text("system.os"), view.machine
    said = view.reasons("PLATFORM_NOT_TDX")
    evidence = view.evidence(facts, [*said, *view.find("cpu")])
    if system not in (None, "Linux"):
        name = "macOS" if system == "Darwin" else system
        return failed(evidence, f"It runs {name}; a TDX host runs Linux.")
    if machine not in (None, "x86_64", "i686", "i386"):
        return failed(evidence, f"Its architecture is {machine}; TDX is a feature of Intel's x86-64 servers.")
    if view.vendor not in (None, "Intel"):
        return failed(evidence, f"Its CPU is from {view.vendor}, and TDX is Intel's.")
    if view.tdx_cpu is False:
        return failed(evidence, f"This CPU model has no TDX{_named(view)}.")
    if view.fact("msr.0x1401").raw == "EIO" and view.msr(0x3A) is not None:
        return failed(view.evidence((*facts, "msr.0x1401")), "The CPU has no SEAM registers.")
    if said and not _started(view):
        return _said_not_tdx(view, evidence)
    if view.tdx_cpu or view.success or view.find("start"):
        return passed(evidence)
    return unknown(evidence)


def _named(view: FactsView) -> str:
    return f" ({view.cpu_name})" if view.cpu_name else ""


def _started(view: FactsView) -> bool:
    return bool(view.success or view.find("start"))


def _said_not_tdx(view: FactsView, evidence: list[Pair]) -> Finding:
    if not view.tdx_cpu:
        return failed(evidence, "The kernel says so.")
    # A capable CPU whose firmware is not set up gets the same line; a firmware cause then comes first.
    if not _firmware_fault(view):
        return failed(
            evidence,
            "The kernel says so, although this CPU model exists with TDX.",
            "In the BIOS set TME, TME-MT, the key split, TDX, the SEAM loader and SGX, and cold "
            "boot; if the line "
            "stays, this part has no TDX: use another machine.",
        )
    return passed(evidence, "The CPU model exists with TDX; the firmware is the cause.")


def _firmware_fault(view: FactsView) -> bool:
    return any(rule(view).status == "FAIL" for rule in (tme, keyids, hibernation, bios))


def kernel(view: FactsView) -> Finding:
    """The kvm_intel parameter exists exactly where KVM can do TDX."""
    facts = ("kernel.release", "kvm.param.tdx", "kernel.config.INTEL_TDX_HOST", "kernel.config.KVM_INTEL_TDX")
    evidence = view.evidence(facts, view.find("linux"))
    release = f"Linux {view.release}" if view.release else "This kernel"
    refused = view.find("kvm-no-param")
    if refused or (view.flag("kvm.intel_module") and view.fact("kvm.param.tdx").missing == "absent"):
        return failed(
            [*evidence, *view.evidence((), refused)], f"{release} has no `kvm_intel.tdx` parameter."
        )
    if view.flag("kvm.param.tdx") is not None:
        return passed(evidence)
    upstream = view.version is not None and view.version >= (6, 16)
    for option in () if view.drives_module else ("INTEL_TDX_HOST", "KVM_INTEL_TDX"):
        if view.flag(f"kernel.config.{option}") is False and (option == "INTEL_TDX_HOST" or upstream):
            return failed(evidence, f"{release} is built without CONFIG_{option}.")
    if view.plain_kernel and not view.success:
        return failed(
            evidence, f"{release} is a distribution kernel of before 6.16: it never starts the TDX module."
        )
    if view.success or view.drives_module or view.flag("kernel.config.KVM_INTEL_TDX"):
        return passed(evidence)
    return unknown(evidence)


def tme(view: FactsView) -> Finding:
    """IA32_TME_ACTIVATE bit 1, or the kernel's line."""
    enabled, said = view.bit(_TME, 1), view.find("tme-off")
    evidence = view.evidence(("msr.0x982",), view.roles(Role.MEMORY))
    if enabled is False or (said and enabled is None):
        return failed(evidence)
    # KeyIDs exist only where TME is on.
    keys = view.keyid_range or view.has_flag("tdx_host_platform")
    if enabled or view.find("tme-on", "mktme") or keys or proofs(view):
        return passed(evidence)
    return unknown(evidence)


def keyids(view: FactsView) -> Finding:
    """IA32_MKTME_KEYID_PARTITIONING[63:32], the KeyID range, or the kernel's refusal."""
    said, values = view.find("few-keyids"), view.msr(_KEYIDS)
    evidence = view.evidence(("msr.0x87",), [*view.find("start"), *said, *view.find("kvm-keyids")])
    if values and min(value >> 32 for value in values) < 2:
        return failed(evidence, f"MSR 0x87 gives TDX {min(value >> 32 for value in values)}.")
    if said or (view.keyid_range and view.keyid_range[1] - view.keyid_range[0] < 2):
        return failed(evidence)
    if values or view.keyid_range or view.has_flag("tdx_host_platform") or proofs(view):
        return passed(evidence)
    # KVM prints the same line when hibernation blocked the KeyIDs, so it counts only without that cause.
    if view.find("kvm-keyids") and hibernation(view).status != "FAIL":
        return failed(evidence, "KVM found none.")
    return unknown(evidence)


def hibernation(view: FactsView) -> Finding:
    """The kernel's refusal, or `disk` in /sys/power/state as its prediction."""
    said, state = view.find("hibernation"), view.text("power.state")
    evidence = view.evidence(("power.state", "power.disk", "kernel.cmdline"), said)
    if said:
        return failed(evidence)
    if (_started(view) and view.past_checks) or view.has_flag("tdx_host_platform") or proofs(view):
        return passed(evidence, "The kernel got past this check.")
    if state is None:
        return passed(evidence) if "nohibernate" in view.options else unknown(evidence)
    possible = "disk" in state.split() and "[disabled]" not in (view.text("power.disk") or "")
    if possible and "nohibernate" not in view.options and (view.version is None or view.version >= (6, 6)):
        return failed(evidence, "/sys/power/state offers `disk`.")
    return passed(evidence)


def bios(view: FactsView) -> Finding:
    """IA32_SEAMRR_PHYS_MASK bit 11, or the kernel's line. The bit does not prove that a module is loaded."""
    said, enabled = view.reasons("BIOS_NOT_ENABLED"), view.bit(_SEAMRR, 11)
    evidence = view.evidence(("msr.0x1401",), [*view.find("start"), *said])
    if said or enabled is False:
        return failed(evidence)
    if enabled or _module_answered(view) or proofs(view):
        return passed(evidence)
    return unknown(evidence)


def _module_answered(view: FactsView) -> bool:
    """Something only a module in memory can say; "BIOS enabled" is not among it."""
    return bool(
        view.find("version", "pamt", "cmr", "seamcall", "seamcall-6.5", "reserved-areas", "rbp", "no-rbp-mod")
    )


def module_loaded(view: FactsView) -> Finding:
    """The first SEAMCALL found a module, or did not."""
    said = view.reasons("MODULE_NOT_LOADED")
    evidence = view.evidence(("module.version",), [*said, *_summary(view, "MODULE_NOT_LOADED")])
    if lost := view.find("update-lost"):
        return failed(view.evidence((), lost), "An update at run time took it away.", _UPDATE_LOST)
    if view.success:
        return passed(view.evidence((), view.success))
    if said or _summary(view, "MODULE_NOT_LOADED"):
        return failed(evidence)
    if "No such device or address" in view.fact("module.version").why:
        return failed(evidence, "The module was lost, as after a failed update.")
    if _module_answered(view) or proofs(view):
        return passed(evidence)
    return unknown(evidence)


def _summary(view: FactsView, code: str) -> list[LogMatch]:
    """The kernel's summary line, where it alone names the cause."""
    specific = [e for e in view.roles(Role.FAILURE) if e.message.reason]
    if specific or view.errno is None or ERRNO.get(view.errno) != code:
        return []
    return view.find("failed")


def module_version(view: FactsView) -> Finding:
    """What only an old module answers, and the version it reports."""
    said = view.reasons("MODULE_TOO_OLD")
    calls = [event for event, call in view.seamcalls if call.module_too_old]
    version = view.find("version")
    summary = _summary(view, "MODULE_TOO_OLD")
    evidence = view.evidence(("module.version",), [*version, *calls, *said, *summary])
    module = view.module
    older = module.older_than if module else ""
    if view.success and older:
        return Finding(
            CheckStatus.UNKNOWN,
            tuple(evidence),
            f"It came up, but {module} is older than {older}; with such a module TDs may not start.",
            UPDATE_MODULE,
        )
    if view.success:
        return passed(evidence)
    if said or calls or summary:
        detail = str(next(call for _, call in view.seamcalls if call.module_too_old)) if calls else ""
        return failed(evidence, f"{detail}." if detail else "")
    if module and (module.major, module.minor) == (1, 0):
        return failed(evidence, f"The module is {module}, of the 1.0 line.")
    if older:
        return Finding(
            CheckStatus.UNKNOWN, tuple(evidence), f"{module} is older than {older}.", UPDATE_MODULE
        )
    return passed(evidence) if version or proofs(view) else unknown(evidence)


def memory_map(view: FactsView) -> Finding:
    """TDMRs or their reserved areas ran out (-28)."""
    code = "TDMR_RESERVED_AREAS_EXHAUSTED"
    said = [*view.reasons(code), *_summary(view, code)]
    if view.success:
        return passed(view.evidence((), view.success))
    if said:
        return failed(view.evidence((), [*said, *view.find("tdmr-limit")]))
    return passed(view.evidence((), view.find("pamt"))) if view.find("pamt") or proofs(view) else unknown([])


def seamcall(view: FactsView) -> Finding:
    """Any other SEAMCALL error of the initialisation, decoded."""
    calls = [(event, call) for event, call in view.seamcalls if not call.module_too_old]
    summary = _summary(view, "SEAMCALL_FAILED")
    evidence = view.evidence((), [*(event for event, _ in calls), *view.find("failed")])
    if view.success:
        return passed(view.evidence((), view.success))
    if calls:
        return failed(evidence, f"{calls[0][1]}.", calls[0][1].action)
    if summary:
        return failed(
            evidence, "The kernel reports -5; the line that names leaf and status is not in this log."
        )
    return passed([]) if proofs(view) else unknown([])


def kvm_param(view: FactsView) -> Finding:
    """The parameter is on, or was at least asked for."""
    value, asked = view.flag("kvm.param.tdx"), view.requested
    evidence = view.evidence(("kvm.param.tdx", "kernel.cmdline", "kernel.modprobe"), view.find("cmdline"))
    if value:
        return passed(evidence)
    # Since 7.1 the kernel starts the module whatever KVM is asked; before, its success is KVM's.
    by_kvm = any("TDX-Module" not in event.line.text for event in view.success)
    if value is None and (by_kvm or not view.switched_off):
        return unknown(evidence)
    if asked is False:
        if view.typo:
            return failed(
                evidence,
                f"The command line says `{view.typo}`, which nothing reads.",
                f"Write `kvm_intel.tdx=1` instead of `{view.typo}` on the kernel command line and reboot.",
            )
        return failed(evidence)
    if asked is None:
        return unknown(evidence, "The parameter is N; whether it was asked for cannot be read.")
    return passed(evidence, "It was asked for; the parameter is N because something else failed.")


def kvm_prereq(view: FactsView) -> Finding:
    """KVM's requirements, from its lines and its parameters."""
    # Said after the module came up it is a run-time message.
    said = view.reasons("KVM_PREREQ") or ([] if view.success else view.find("run-requires"))
    names = ("kvm.param.ept", "kvm.param.tdp_mmu", "kvm.param.enable_apicv", "kvm.param.enable_virt_at_load")
    evidence = view.evidence(names, said)
    if view.flag("kvm.param.tdx") or (view.flag("kvm.param.tdx") is None and view.success and not said):
        return passed(evidence)
    if said:
        action = _VIRTUALISATION if said[0].message.id == "vmx-off" else ""
        return failed(evidence, f"It says: {said[0].line.text}", action)
    off = [view.fact(name).source for name in names if view.flag(name) is False]
    conflicts = [word for word in view.options if _CONFLICT.fullmatch(word)]
    if (off or conflicts) and view.flag("kvm.param.tdx") is False:
        detail = f"`{conflicts[0]}` switches off what TDX needs." if conflicts else f"{off[0]} is N."
        remove = "Remove `{}` from the kernel command line or /etc/modprobe.d, then reboot."
        return failed(evidence, detail, remove.format(conflicts[0]) if conflicts else "")
    if view.success and view.flag("kvm.param.tdx") is False:
        return failed(
            evidence,
            "The module is up, but KVM's parameter is N although it was asked for.",
            "Run `sudo dmesg | grep -i kvm` for the requirement that KVM misses, and remove what conflicts.",
        )
    return unknown(evidence)


def proofs(view: FactsView) -> list[Pair]:
    """Positive proofs that the module is up: success line of this boot, parameter Y to 7.0, KVM's bit."""
    pairs = view.evidence((), view.success)
    if view.flag("kvm.param.tdx") and view.version and view.version <= (7, 0):
        pairs += view.evidence(("kvm.param.tdx",))
    if (view.number("kvm.vm_types") or 0) >> 5 & 1:
        pairs += view.evidence(("kvm.vm_types",))
    return pairs


def initialised(view: FactsView) -> Finding:
    """One positive proof, and no sign that the sequence broke off."""
    proof = proofs(view)
    if proof:
        return passed(proof)
    began = [
        *view.roles(Role.START, Role.PROGRESS),
        *view.find("failed", "kvm-failed", "notifier", "kvm-keyids"),
    ]
    evidence = view.evidence(("kvm.param.tdx", "kvm.vm_types"), [*began, *view.roles(Role.PANIC)])
    hint = _hint(view)
    if began and view.panic is not None:
        return failed(
            evidence,
            f"The kernel panicked first ({view.panic.rstrip('.')}), so that its silence about TDX says "
            f"nothing.",
            "Mend what made the kernel panic; boot again, and run `labkit verify` then.",
        )
    if view.flag("kvm.param.tdx") is False:
        return failed(
            evidence, f"KVM's parameter is N although it was asked for.{hint}" if view.requested else hint
        )
    if began and _silence_is_normal(view):
        return unknown(evidence, "Nothing asked for the module yet: KVM starts it when kvm_intel loads.")
    if began and not_understood(view):
        return unknown(evidence)
    if began and not view.flag("kvm.param.tdx"):
        return failed(evidence, hint)
    return unknown(evidence)


def not_understood(view: FactsView) -> bool:
    """The log has words about TDX that may tell what nothing else in it tells."""
    return bool(view.log.unread) and not view.roles(Role.FAILURE, Role.SUCCESS)


def _silence_is_normal(view: FactsView) -> bool:
    """Before 7.1 only kvm_intel with the parameter starts the module."""
    return view.flag("kvm.intel_module") is False and view.requested is False and not view.roles(Role.FAILURE)


def _hint(view: FactsView) -> str:
    hints = []
    if view.unknown_words:
        hints.append(f"Its last word that labkit does not know: `{view.unknown_words[-1].line.text[:120]}`.")
    if view.typo and not view.requested:
        hints.append(f"The command line says `{view.typo}`, which nothing reads: write `kvm_intel.tdx=1`.")
    elif view.requested is False:
        hints.append("The command line does not ask for `kvm_intel.tdx=1`.")
    if view.bit(_SEAMRR, 11):
        hints.append(
            "MSR 0x1401 says that firmware set the SEAM range up: suspect SEAM loader, module, SGX or DIMMs."
        )
    if view.flag("sgx.enclave") is False or view.has_flag("sgx") is False:
        hints.append("SGX is off, which also keeps the module from starting.")
    if view.flag("kvm.intel_module") is False:
        hints.append("kvm_intel is not loaded: `sudo modprobe kvm_intel` shows its error.")
    return " ".join(hints)


def log_reason(view: FactsView) -> str:
    """Which INDETERMINATE it is when nothing failed and nothing is proved."""
    began = view.roles(Role.START, Role.PROGRESS)
    if view.log.state is LogState.UNREADABLE or (began and not_understood(view)):
        return "LOG_UNREADABLE"
    return "EMPTY_LOG" if view.log.state is LogState.EMPTY else "NO_INIT_LINES"
