"""Synthetic hosts as file trees: one good host, and what changes to make each of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labkit.host.firmware import TDVF_GUID

Files = Mapping[str, str | bytes | None]

PARAM = "/sys/module/kvm_intel/parameters/tdx"
KERN = "/var/log/kern.log"
RELEASE = "/proc/sys/kernel/osrelease"
CMDLINE = "/proc/cmdline"
START = "virt/tdx: BIOS enabled: private KeyID range [32, 64)"
S3 = "virt/tdx: Disable ACPI S3. Turn off TDX in the BIOS to use ACPI S3."
UP = "virt/tdx: module initialized"
UP_71 = "virt/tdx: TDX-Module initialized"
FLAGS = "fpu vme vmx sgx sgx_lc tme movdir64b ss tdx_host_platform"
NOT_FLAGGED = "fpu vme vmx sgx sgx_lc tme movdir64b ss"
TDVF = b"\0" * 4096 + TDVF_GUID + b"\0" * 48


def cpuinfo(
    vendor: str = "GenuineIntel",
    family: int = 6,
    model: int = 0x8F,
    name: str = "Intel(R) Xeon(R) Platinum 8480+",
    flags: str = FLAGS,
    bugs: str = "spectre_v1 tdx_pw_mce",
    microcode: str = "0x2b000643",
) -> str:
    fields = {
        "vendor_id": vendor,
        "cpu family": family,
        "model": model,
        "model name": name,
        "microcode": microcode,
        "flags": flags,
        "bugs": bugs,
        "address sizes": "52 bits physical, 57 bits virtual",
    }
    return "".join(
        "".join([f"processor\t: {cpu}\n", *(f"{key}\t: {value}\n" for key, value in fields.items()), "\n"])
        for cpu in range(2)
    )


def log(*messages: str, release: str = "6.17.0-8-generic") -> str:
    lines = [f"Linux version {release} (buildd@example)", *messages]
    return "".join(
        f"Apr  5 09:10:{second:02d} node7 kernel: [{second:5d}.000000] {message}\n"
        for second, message in enumerate(lines)
    )


GOOD: dict[str, str | bytes | None] = {
    "/proc/cpuinfo": cpuinfo(),
    RELEASE: "6.17.0-8-generic\n",
    CMDLINE: "BOOT_IMAGE=/vmlinuz root=UUID=1b4e28ba-2fa1-11d2-883f-0016d3cca427 ro nohibernate "
    "kvm_intel.tdx=1\n",
    PARAM: "Y\n",
    "/sys/module/kvm_intel/parameters/ept": "Y\n",
    "/sys/module/kvm_intel/parameters/enable_apicv": "Y\n",
    "/sys/module/kvm/parameters/tdp_mmu": "Y\n",
    "/sys/module/kvm/parameters/enable_virt_at_load": "Y\n",
    "/sys/power/state": "freeze mem\n",
    "/sys/power/disk": "[disabled]\n",
    "/sys/fs/cgroup/misc.capacity": "tdx 31\n",
    "/sys/fs/cgroup/misc.current": "tdx 2\n",
    "/dev/null": "",
    "/dev/kvm": "",
    "/dev/sgx_enclave": "",
    "/usr/share/ovmf/OVMF.inteltdx.fd": TDVF,
    KERN: log(START, S3, "virt/tdx: 525320 KB allocated for PAMT", UP),
}


@dataclass(frozen=True)
class Host:
    """A host: what differs from the good one, and what must be said about it."""

    name: str
    verdict: str
    reason: str | None
    files: Files
    mentions: str = ""


def _quiet(**more: str | bytes | None) -> Files:
    return {PARAM: "N\n", KERN: log(START, S3), **more}


def _without(*paths: str) -> Files:
    return dict.fromkeys(paths)


_KVM_INTEL = tuple(path for path in GOOD if path.startswith("/sys/module/kvm_intel/"))

HOSTS: tuple[Host, ...] = (
    Host("good-6.17", "READY", None, {}),
    Host("good-param-only", "READY", None, {KERN: None}),
    Host("good-log-wrapped", "READY", None, {KERN: "[90000.000000] usb 1-1: new device\n"}),
    Host(
        "good-7.1",
        "READY",
        None,
        {
            RELEASE: "7.1.0\n",
            KERN: log(START, S3, "virt/tdx: Module version: 1.5.24", UP_71, release="7.1.0"),
        },
    ),
    Host(
        "good-emr",
        "READY",
        None,
        {"/proc/cpuinfo": cpuinfo(model=0xCF, name="INTEL(R) XEON(R) PLATINUM 8592+")},
    ),
    Host("good-gnr", "READY", None, {"/proc/cpuinfo": cpuinfo(model=0xAD, name="Intel(R) Xeon(R) 6972P")}),
    Host(
        "good-family-19",
        "READY",
        None,
        {"/proc/cpuinfo": cpuinfo(family=19, model=1, name="Intel(R) Xeon(R) 7")},
    ),
    Host(
        "good-6.8-intel",
        "READY",
        None,
        {RELEASE: "6.8.0-1013-intel\n", KERN: log(START, S3, UP, release="6.8.0-1013-intel")},
    ),
    Host(
        "good-modprobe-option",
        "READY",
        None,
        {CMDLINE: "ro nohibernate\n", "/etc/modprobe.d/tdx.conf": "options kvm_intel tdx=1\n"},
    ),
    Host(
        "td-guest",
        "NOT_READY",
        "INSIDE_TD_GUEST",
        {
            "/proc/cpuinfo": cpuinfo(flags="fpu hypervisor tdx_guest"),
            "/dev/tdx_guest": "",
            KERN: log("tdx: Guest detected"),
        },
    ),
    Host("vm-intel", "NOT_READY", "INSIDE_VM", {"/proc/cpuinfo": cpuinfo(flags="fpu vmx hypervisor")}),
    Host(
        "vm-amd",
        "NOT_READY",
        "INSIDE_VM",
        {"/proc/cpuinfo": cpuinfo("AuthenticAMD", 26, 2, "AMD EPYC", "fpu hypervisor")},
        "AMD",
    ),
    Host(
        "amd",
        "NOT_READY",
        "PLATFORM_NOT_TDX",
        {
            "/proc/cpuinfo": cpuinfo("AuthenticAMD", 25, 17, "AMD EPYC 9654", "fpu svm"),
            KERN: log("virt/tdx: TDX not supported by the host platform", release="7.1.0"),
            **_without(*_KVM_INTEL),
        },
        "AMD",
    ),
    Host(
        "arm64",
        "NOT_READY",
        "PLATFORM_NOT_TDX",
        {
            "/proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n",
            KERN: None,
        },
        "aarch64",
    ),
    Host(
        "macos",
        "NOT_READY",
        "PLATFORM_NOT_TDX",
        {**dict.fromkeys(GOOD), "/System/Library/CoreServices/SystemVersion.plist": "<plist/>"},
        "macOS",
    ),
    Host(
        "client",
        "NOT_READY",
        "PLATFORM_NOT_TDX",
        {
            "/proc/cpuinfo": cpuinfo(
                model=0x8C, name="11th Gen Intel(R) Core(TM) i7-1185G7", flags="fpu vmx"
            ),
            **_quiet(**{KERN: log("x86/tme: not enabled by BIOS")}),
        },
        "i7-1185G7",
    ),
    Host(
        "ice-lake",
        "NOT_READY",
        "PLATFORM_NOT_TDX",
        {
            "/proc/cpuinfo": cpuinfo(model=0x6A, name="Intel(R) Xeon(R) Platinum 8380", flags=NOT_FLAGGED),
            PARAM: "N\n",
            KERN: None,
        },
    ),
    Host(
        "kernel-6.8-generic",
        "NOT_READY",
        "KERNEL_NO_TDX",
        {RELEASE: "6.8.0-101-generic\n", PARAM: None, KERN: log(release="6.8.0-101-generic")},
    ),
    Host(
        "kernel-config",
        "NOT_READY",
        "KERNEL_NO_TDX",
        {
            RELEASE: "6.17.5\n",
            "/boot/config-6.17.5": "CONFIG_KVM_INTEL=m\n# CONFIG_INTEL_TDX_HOST is not set\n",
            KERN: log(release="6.17.5"),
            **_without(*_KVM_INTEL),
        },
    ),
    Host(
        "tme-off",
        "NOT_READY",
        "TME_OFF",
        {"/proc/cpuinfo": cpuinfo(flags="fpu vmx"), **_quiet(**{KERN: log("x86/tme: not enabled by BIOS")})},
    ),
    Host(
        "tme-off-7.1",
        "NOT_READY",
        "TME_OFF",
        {
            "/proc/cpuinfo": cpuinfo(flags="fpu vmx"),
            RELEASE: "7.1.0\n",
            PARAM: "N\n",
            KERN: log(
                "x86/tme: not enabled by BIOS",
                "virt/tdx: TDX not supported by the host platform",
                release="7.1.0",
            ),
        },
    ),
    Host(
        "one-keyid",
        "NOT_READY",
        "NO_KEYIDS",
        {
            "/proc/cpuinfo": cpuinfo(flags=NOT_FLAGGED),
            **_quiet(
                **{
                    KERN: log(
                        "virt/tdx: BIOS enabled: private KeyID range [63, 64)",
                        "virt/tdx: initialization failed: too few private KeyIDs available.",
                    )
                }
            ),
        },
    ),
    Host(
        "hibernation-log",
        "NOT_READY",
        "HIBERNATION_ENABLED",
        {
            "/proc/cpuinfo": cpuinfo(flags=NOT_FLAGGED),
            CMDLINE: "ro kvm_intel.tdx=1\n",
            "/sys/power/state": "freeze mem disk\n",
            **_quiet(
                **{
                    KERN: log(
                        START,
                        "virt/tdx: initialization failed: Hibernation support is enabled",
                        "kvm_intel: tdx: no TDX private KeyIDs available",
                    )
                }
            ),
        },
    ),
    Host(
        "hibernation-predicted",
        "NOT_READY",
        "HIBERNATION_ENABLED",
        {
            "/proc/cpuinfo": cpuinfo(flags=NOT_FLAGGED),
            CMDLINE: "ro kvm_intel.tdx=1\n",
            "/sys/power/state": "freeze mem disk\n",
            "/sys/power/disk": "[platform] shutdown\n",
            PARAM: "N\n",
            KERN: None,
        },
    ),
    Host(
        "bios",
        "NOT_READY",
        "BIOS_NOT_ENABLED",
        _quiet(**{KERN: log(START, S3, "virt/tdx: not enabled by BIOS.")}),
    ),
    Host(
        "no-module",
        "NOT_READY",
        "MODULE_NOT_LOADED",
        _quiet(**{KERN: log(START, S3, "virt/tdx: module not loaded")}),
    ),
    Host(
        "old-module",
        "NOT_READY",
        "MODULE_TOO_OLD",
        _quiet(
            **{
                KERN: log(
                    START,
                    S3,
                    "virt/tdx: SEAMCALL (0x0000000000000022) failed: 0xc000050500000000",
                    "virt/tdx: module initialization failed (-5)",
                )
            }
        ),
        "TDX_SYS_NOT_READY",
    ),
    Host(
        "memory-map",
        "NOT_READY",
        "TDMR_RESERVED_AREAS_EXHAUSTED",
        _quiet(
            **{
                KERN: log(
                    START,
                    S3,
                    "virt/tdx: initialization failed: TDMR [0x0, 0x40000000): reserved areas exhausted.",
                    "virt/tdx: module initialization failed (-28)",
                )
            }
        ),
    ),
    Host(
        "tsx-value",
        "NOT_READY",
        "SEAMCALL_FAILED",
        _quiet(
            **{
                KERN: log(
                    START,
                    S3,
                    "virt/tdx: SEAMCALL (0x0000000000000021) failed: 0xc000092100000122",
                    "virt/tdx: module initialization failed (-5)",
                )
            }
        ),
        "IA32_TSX_CTRL",
    ),
    Host("not-asked", "NOT_READY", "KVM_PARAM_OFF", _quiet(**{CMDLINE: "ro nohibernate\n"})),
    Host(
        "typo",
        "NOT_READY",
        "KVM_PARAM_OFF",
        _quiet(**{CMDLINE: "ro nohibernate kvm_inte.tdx=1\n"}),
        "kvm_inte.tdx=1",
    ),
    Host(
        "asked-off-7.1",
        "NOT_READY",
        "KVM_PARAM_OFF",
        {
            RELEASE: "7.1.0\n",
            CMDLINE: "ro nohibernate\n",
            PARAM: "N\n",
            KERN: log(START, UP_71, release="7.1.0"),
        },
    ),
    Host(
        "tdp-mmu-off",
        "NOT_READY",
        "KVM_PREREQ",
        {
            "/sys/module/kvm/parameters/tdp_mmu": "N\n",
            **_quiet(
                **{
                    KERN: log(
                        START, S3, "kvm_intel: TDP MMU and MMIO caching and EPT A/D bit is required for TDX"
                    )
                }
            ),
        },
    ),
    Host(
        "ept-off-no-line",
        "NOT_READY",
        "KVM_PREREQ",
        {"/sys/module/kvm_intel/parameters/ept": "N\n", **_quiet()},
        "ept",
    ),
    Host(
        "conflicting-option",
        "NOT_READY",
        "KVM_PREREQ",
        _quiet(**{CMDLINE: "ro nohibernate kvm_intel.tdx=1 kvm.tdp_mmu=0\n"}),
        "`kvm.tdp_mmu=0`",
    ),
    Host(
        "option-without-intel",
        "NOT_READY",
        "KVM_PARAM_OFF",
        _quiet(**{CMDLINE: "ro nohibernate kvm.tdx=1\n"}),
        "`kvm.tdx=1`",
    ),
    Host(
        "hibernation-7.1",
        "NOT_READY",
        "HIBERNATION_ENABLED",
        {
            "/proc/cpuinfo": cpuinfo(flags=NOT_FLAGGED),
            RELEASE: "7.1.0\n",
            CMDLINE: "ro kvm_intel.tdx=1\n",
            "/sys/power/disk": "[platform] shutdown\n",
            "/sys/power/state": "freeze mem disk\n",
            PARAM: "N\n",
            KERN: log("virt/tdx: TDX not supported by the host platform", release="7.1.0"),
        },
    ),
    Host("silent", "NOT_READY", "INIT_NOT_CONFIRMED", _quiet()),
    Host("silent-no-sgx", "NOT_READY", "INIT_NOT_CONFIRMED", _quiet(**{"/dev/sgx_enclave": None}), "SGX"),
    Host(
        "kvm-intel-missing",
        "NOT_READY",
        "KVM_INTEL_NOT_LOADED",
        {CMDLINE: "ro nohibernate\n", KERN: log(START, S3), "/dev/kvm": None, **_without(*_KVM_INTEL)},
    ),
    Host(
        "container",
        "NOT_READY",
        "DEV_KVM_PERMISSION",
        {"/dev/kvm": None, "/run/.containerenv": ""},
        "container",
    ),
    Host("no-dev-kvm", "NOT_READY", "DEV_KVM_PERMISSION", {"/dev/kvm": None}),
    Host("silent-no-parameter", "NOT_READY", "KERNEL_NO_TDX", _quiet(**{PARAM: None})),
    Host("plain-ovmf", "NOT_READY", "TDVF_MISSING", {"/usr/share/ovmf/OVMF.inteltdx.fd": b"\0" * 8192}),
    Host(
        "keyids-used-up",
        "NOT_READY",
        "KEYIDS_EXHAUSTED",
        {"/sys/fs/cgroup/misc.current": "tdx 31\n"},
        "31 of 31",
    ),
    Host("log-unreadable-7.1", "INDETERMINATE", "LOG_UNREADABLE", {RELEASE: "7.1.0\n", KERN: None}),
    Host(
        "log-from-later",
        "INDETERMINATE",
        "NO_INIT_LINES",
        {RELEASE: "7.1.0\n", KERN: "[90000.000000] usb 1-1: new device\n"},
    ),
    Host("log-empty", "INDETERMINATE", "EMPTY_LOG", {RELEASE: "7.1.0\n", KERN: ""}),
)

BY_NAME = {host.name: host for host in HOSTS}

# Two hosts that differ in one file, as the third column says, and must differ in reason.
PAIRS: tuple[tuple[str, str, str], ...] = (
    ("not-asked", "silent", "the option on the command line"),
    ("typo", "silent", "one letter of the option"),
    ("bios", "no-module", "who the last line blames"),
    ("old-module", "tsx-value", "leaf and status of the SEAMCALL"),
    ("memory-map", "silent", "whether a line names the cause"),
    ("good-6.17", "vm-intel", "the hypervisor flag"),
    ("good-6.17", "no-dev-kvm", "/dev/kvm"),
    ("good-6.17", "plain-ovmf", "the GUID inside the firmware, under the same name"),
    ("good-6.17", "keyids-used-up", "one number of the misc cgroup"),
    ("good-param-only", "log-unreadable-7.1", "the kernel version: Y alone proves it up to 7.0 only"),
    ("good-log-wrapped", "log-from-later", "the kernel version, with a log that starts too late"),
    (
        "silent",
        "silent-no-parameter",
        "whether KVM has the parameter at all",
    ),
    ("silent", "ept-off-no-line", "a parameter of KVM that TDX needs"),
)


def build(host: Host, root: Path) -> Path:
    """Write the host's files below ``root``."""
    for path, content in {**GOOD, **host.files}.items():
        if content is None:
            continue
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            content = content.encode()
        target.write_bytes(content)
    return root
