"""The checks as a table: to add a check, add a row (and its reason to the table of reasons)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from labkit.host import _attestation_rules as attestation
from labkit.host import _launch_rules as launch
from labkit.host import host_rules as host
from labkit.host._finding import Finding
from labkit.host.reasons import LAUNCH
from labkit.host.view import FactsView


@dataclass(frozen=True)
class Check:
    """One row.

    needs: checks that must not have failed; otherwise this one is SKIP.
    rule: facts to PASS, FAIL or UNKNOWN.
    reason: the code a FAIL stands for; its summary, fix and remedies are in the table of reasons.
    settle: the command that would settle an UNKNOWN.
    source: where the rule comes from.
    track: of the check, where it is not that of its reason.
    """

    id: str
    title: str
    needs: tuple[str, ...]
    rule: Callable[[FactsView], Finding]
    expected: str
    reason: str
    settle: str
    source: str
    track: str = ""


_TDX_C = "Linux arch/x86/virt/vmx/tdx/tdx.c"
_KVM_C = "Linux arch/x86/kvm/vmx/tdx.c"
_SDM = "Intel SDM vol. 4; Intel TDX module base specification"
_DCAP = "Intel SGX DCAP Linux packages; canonical/tdx README, attestation"
_MSR = "sudo modprobe msr && sudo labkit verify"
_LOG = "sudo journalctl -k -b | labkit verify --kernel-log -"

# In order of precedence: the first FAIL is the root cause.
CHECKS: tuple[Check, ...] = (
    Check(
        "not-td-guest",
        "Not inside a TD",
        (),
        host.not_td_guest,
        "no TD guest sign",
        "INSIDE_TD_GUEST",
        "systemd-detect-virt --cvm",
        "Linux arch/x86/coco/tdx/tdx.c",
    ),
    Check(
        "bare-metal",
        "Not inside a VM",
        ("not-td-guest",),
        host.bare_metal,
        "no `hypervisor` among the CPU flags",
        "INSIDE_VM",
        "systemd-detect-virt",
        "CPUID.1:ECX[31], Intel SDM vol. 2",
    ),
    Check(
        "platform",
        "A TDX-capable platform",
        ("bare-metal",),
        host.platform,
        "Linux on an Intel Xeon with TDX (06_8F and later)",
        "PLATFORM_NOT_TDX",
        "lscpu",
        _TDX_C,
    ),
    Check(
        "kernel",
        "A kernel with TDX",
        ("platform",),
        host.kernel,
        "the parameter kvm_intel.tdx exists",
        "KERNEL_NO_TDX",
        "ls /sys/module/kvm_intel/parameters/tdx",
        _KVM_C,
    ),
    Check(
        "tme",
        "Memory encryption (TME) on",
        ("platform",),
        host.tme,
        "MSR 0x982 bit 1 = 1",
        "TME_OFF",
        _MSR,
        _SDM,
    ),
    Check("keyids", "KeyIDs for TDX", ("tme",), host.keyids, "MSR 0x87[63:32] >= 2", "NO_KEYIDS", _MSR, _SDM),
    Check(
        "hibernation",
        "Hibernation impossible",
        ("platform",),
        host.hibernation,
        "no `disk` in /sys/power/state, or `nohibernate`",
        "HIBERNATION_ENABLED",
        "cat /sys/power/state",
        _TDX_C,
    ),
    Check(
        "bios",
        "TDX enabled by the BIOS",
        ("tme", "keyids"),
        host.bios,
        "MSR 0x1401 bit 11 = 1",
        "BIOS_NOT_ENABLED",
        _MSR,
        _SDM,
    ),
    Check(
        "module-loaded",
        "TDX module in memory",
        ("bios", "hibernation"),
        host.module_loaded,
        "the first SEAMCALL is answered",
        "MODULE_NOT_LOADED",
        _LOG,
        _TDX_C,
    ),
    Check(
        "module-version",
        "TDX module new enough",
        ("module-loaded",),
        host.module_version,
        "1.5.06 or later of its line",
        "MODULE_TOO_OLD",
        _LOG,
        _TDX_C,
    ),
    Check(
        "memory-map",
        "Memory map accepted",
        ("module-loaded",),
        host.memory_map,
        "enough TDMRs and reserved areas",
        "TDMR_RESERVED_AREAS_EXHAUSTED",
        _LOG,
        _TDX_C,
    ),
    Check(
        "seamcalls",
        "No SEAMCALL failed",
        ("module-loaded", "module-version"),
        host.seamcall,
        "every SEAMCALL of the initialisation succeeds",
        "SEAMCALL_FAILED",
        _LOG,
        "Intel TDX module 1.5 ABI, completion status codes",
    ),
    Check(
        "kvm-param",
        "KVM asked to use TDX",
        ("kernel",),
        host.kvm_param,
        "/sys/module/kvm_intel/parameters/tdx = Y",
        "KVM_PARAM_OFF",
        "cat /sys/module/kvm_intel/parameters/tdx /proc/cmdline",
        _KVM_C,
    ),
    Check(
        "kvm-needs",
        "What KVM needs for TDX",
        ("kernel", "kvm-param"),
        host.kvm_prereq,
        "EPT, TDP MMU, APICv, virt_at_load",
        "KVM_PREREQ",
        _LOG,
        _KVM_C,
    ),
    Check(
        "initialised",
        "TDX module initialised",
        ("seamcalls", "memory-map", "hibernation", "bios", "kvm-param", "kvm-needs"),
        host.initialised,
        "a success line of this boot, or KVM's own word",
        "INIT_NOT_CONFIRMED",
        _LOG,
        _TDX_C,
    ),
    Check(
        "kernel-cpu",
        "The kernel starts TDs on this CPU",
        ("platform", "kernel"),
        launch.kernel_for_cpu,
        "on a Xeon 6 a newer line than Canonical's 6.8",
        "KERNEL_NO_TDX",
        "uname -r; lscpu",
        "canonical/tdx#286; TUM-DSE/doctor-cluster-config#371",
        LAUNCH,
    ),
    Check(
        "kvm-intel",
        "kvm_intel loaded",
        ("platform",),
        launch.kvm_intel,
        "/sys/module/kvm_intel exists",
        "KVM_INTEL_NOT_LOADED",
        "ls /sys/module/kvm_intel",
        "Linux Documentation/admin-guide/kernel-parameters.txt",
    ),
    Check(
        "dev-kvm",
        "/dev/kvm opens",
        ("kvm-intel",),
        launch.dev_kvm,
        "this login may read and write /dev/kvm",
        "DEV_KVM_PERMISSION",
        "ls -l /dev/kvm; id",
        "Linux Documentation/virt/kvm/api.rst",
    ),
    Check(
        "qemu",
        "QEMU knows TDX",
        ("platform",),
        launch.qemu,
        "`-object help` lists tdx-guest",
        "QEMU_NO_TDX",
        "qemu-system-x86_64 -object help",
        "QEMU docs/system/i386/tdx.rst",
    ),
    Check(
        "qemu-kvm",
        "QEMU and KVM fit",
        ("qemu", "dev-kvm"),
        launch.qemu_kvm,
        "both upstream, or both of one fork",
        "QEMU_KVM_ABI_MISMATCH",
        "qemu-system-x86_64 -version; uname -r",
        "Linux Documentation/virt/kvm/api.rst",
    ),
    Check(
        "tdvf",
        "Firmware with TDVF metadata",
        ("platform",),
        launch.tdvf,
        "an image with GUID e47a6535-…-bf8ec2",
        "TDVF_MISSING",
        "labkit measure FIRMWARE",
        "Intel TDX Virtual Firmware Design Guide",
    ),
    Check(
        "keyids-free",
        "KeyIDs left",
        ("keyids",),
        launch.keyids_free,
        "misc.current below misc.capacity",
        "KEYIDS_EXHAUSTED",
        "cat /sys/fs/cgroup/misc.capacity /sys/fs/cgroup/misc.current",
        "Linux Documentation/admin-guide/cgroup-v2.rst, Misc",
    ),
    Check(
        "sgx",
        "SGX on",
        ("platform",),
        attestation.sgx,
        "/dev/sgx_enclave exists",
        "SGX_OFF",
        "ls /dev/sgx_*",
        "Linux Documentation/arch/x86/sgx.rst",
    ),
    Check(
        "mcheck",
        "SGX registration data good",
        ("platform",),
        attestation.mcheck,
        "MSR 0xa0 = 0",
        "MCHECK_ERROR",
        _MSR,
        "canonical/tdx#286",
    ),
    Check(
        "qgs",
        "Quote service runs",
        ("platform",),
        attestation.qgs,
        "qgsd is active",
        "QGS_DOWN",
        "systemctl status qgsd",
        _DCAP,
    ),
    Check(
        "qgs-vsock",
        "Quote service on vsock",
        ("qgs",),
        attestation.qgs_vsock,
        "a port in /etc/qgs.conf",
        "QGS_NO_VSOCK",
        "ss --vsock -l",
        _DCAP,
    ),
    Check(
        "pccs",
        "Certificate cache runs",
        ("platform",),
        attestation.pccs,
        "the PCCS of pccs_url answers",
        "PCCS_DOWN",
        "systemctl status pccs",
        _DCAP,
    ),
    Check(
        "registered",
        "Platform registered",
        ("platform",),
        attestation.registered,
        "`completed successfully` in the registration log",
        "NOT_REGISTERED",
        "sudo mpa_manage -get_registration_status",
        _DCAP,
    ),
    Check(
        "production",
        "A production part",
        ("platform",),
        attestation.production,
        "MSR 0xce bit 27 = 0",
        "PRE_PRODUCTION",
        _MSR,
        _SDM,
    ),
)
