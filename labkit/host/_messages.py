"""The kernel's own words about TDX, by generation: one row a message.

Wording from the kernel sources: ``arch/x86/virt/vmx/tdx/tdx.c``, ``arch/x86/kvm/vmx/tdx.c``,
``arch/x86/kernel/cpu/intel.c``, ``arch/x86/coco/tdx/tdx.c``, of kernels 5.15-mvp to 7.1. A person who meets a
new wording adds a row. Patterns must match a whole message, after the log's own prefix has been taken off:
a host name, a CPU model or a command line that merely contains "tdx" proves nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache


class Role(StrEnum):
    """What a message tells."""

    START = "start"  # the sequence began; no verdict
    PROGRESS = "progress"  # later in the sequence; no verdict
    SUCCESS = "success"
    FAILURE = "failure"
    GUEST = "guest"
    MEMORY = "memory"  # TME and MKTME
    RUNTIME = "runtime"  # after initialisation; never an initialisation failure
    CONTEXT = "context"  # kernel version, command line, CPU


@dataclass(frozen=True)
class Message:
    """One wording.

    heads: how the message may begin. body: regular expression of all that follows.
    reason: the reason code that this line by itself establishes; empty when it needs other facts.
    past_checks: the kernel was past its KeyID and hibernation checks when it printed this.
    """

    id: str
    role: Role
    heads: tuple[str, ...]
    body: str
    meaning: str
    reason: str = ""
    past_checks: bool = False

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # Compiled when a line has one of the heads: most runs meet few of them.
        return re.compile(self.body)

    def match(self, message: str) -> re.Match[str] | None:
        """The match of the whole message, or None."""
        for head in self.heads:
            if message.startswith(head):
                found = self._pattern.fullmatch(message, len(head))
                if found:
                    return found
        return None


_CORE = ("virt/tdx: ", "tdx: ", "seam: ", "SEAM: ")
_KVM = ("kvm_intel: tdx: ", "kvm_intel: ", "kvm: tdx: ", "kvm: ")


def _row(
    id_: str,
    role: Role,
    text: str,
    meaning: str,
    reason: str = "",
    *,
    past: bool = False,
    scope: str | tuple[str, ...] = _CORE,
) -> Message:
    heads = (scope,) if isinstance(scope, str) else scope
    return Message(id_, role, heads, text, meaning, reason, past)


MESSAGES: tuple[Message, ...] = (
    # Inside a TD.
    _row("guest", Role.GUEST, r"Guest detected", "the kernel runs inside a TD"),
    _row(
        "guest-cc",
        Role.GUEST,
        r".*\bIntel TDX\b.*",
        "the kernel's encryption is a TD's",
        scope="Memory Encryption Features active: ",
    ),
    _row(
        "guest-idle",
        Role.GUEST,
        r"using TDX aware idle routine",
        "the kernel runs inside a TD",
        scope="process: ",
    ),
    _row(
        "guest-systemd",
        Role.GUEST,
        r"Detected confidential virtualization tdx\.?",
        "systemd sees a TD",
        scope="systemd[1]: ",
    ),
    # Outcome of the initialisation.
    _row(
        "initialized",
        Role.SUCCESS,
        r"(?:TDX[- ][Mm]odule|[Mm]odule) initialized\.?",
        "the TDX module is up",
        past=True,
    ),
    _row(
        "not-supported",
        Role.FAILURE,
        r"TDX not supported by the host platform",
        "7.1+: printed on every x86 machine without TDX",
        "PLATFORM_NOT_TDX",
    ),
    _row(
        "disabled-platform",
        Role.FAILURE,
        r"Cannot enable TDX on TDX disabled platform\.?",
        "MVP era: the platform has no TDX",
        "PLATFORM_NOT_TDX",
    ),
    _row(
        "no-ept-ve",
        Role.FAILURE,
        r"CPU doesn't support EPT violation #VE\.?",
        "MVP era: the CPU (or the VM around it) lacks what TDX needs",
        "PLATFORM_NOT_TDX",
    ),
    _row(
        "few-keyids",
        Role.FAILURE,
        r"initialization failed: too few private KeyIDs available\.?",
        "the key split leaves TDX fewer than two KeyIDs",
        "NO_KEYIDS",
    ),
    _row(
        "hibernation",
        Role.FAILURE,
        r"initialization failed: Hibernation support is enabled\.?",
        "the kernel refuses TDX while it could hibernate",
        "HIBERNATION_ENABLED",
    ),
    _row(
        "bios",
        Role.FAILURE,
        r"(?:\[[Ff]irmware [Bb]ug\]: )?(?:TDX is )?not enabled by BIOS\.?",
        "firmware did not enable TDX",
        "BIOS_NOT_ENABLED",
    ),
    _row(
        "seamrr",
        Role.FAILURE,
        r"SEAMRR is not enabled by BIOS\.?",
        "MVP era: firmware set no SEAM memory range",
        "BIOS_NOT_ENABLED",
    ),
    _row(
        "not-loaded",
        Role.FAILURE,
        r"module not loaded\.?",
        "the first SEAMCALL found no module in memory",
        "MODULE_NOT_LOADED",
        past=True,
    ),
    _row(
        "no-module",
        Role.FAILURE,
        r"No TDX module loaded by BIOS\.?",
        "MVP era: no module in memory",
        "MODULE_NOT_LOADED",
    ),
    _row(
        "no-seamldr",
        Role.FAILURE,
        r"No P-SEAMLDR is available\.?",
        "MVP era: no SEAM loader in memory",
        "MODULE_NOT_LOADED",
    ),
    _row(
        "rbp",
        Role.FAILURE,
        r"frame pointer \(RBP\) clobber bug present, upgrade TDX module\.?",
        "this module version clobbers RBP",
        "MODULE_TOO_OLD",
        past=True,
    ),
    _row(
        "no-rbp-mod",
        Role.FAILURE,
        r"NO_RBP_MOD feature is not supported\.?",
        "this module version clobbers RBP (older wording)",
        "MODULE_TOO_OLD",
        past=True,
    ),
    _row(
        "reserved-areas",
        Role.FAILURE,
        r"initialization failed: TDMR \[[^)\]]*\): reserved areas exhausted\.?",
        "the memory map has more holes than one TDMR can hold",
        "TDMR_RESERVED_AREAS_EXHAUSTED",
        past=True,
    ),
    _row(
        "tdmrs",
        Role.FAILURE,
        r"initialization failed: TDMRs exhausted\.?",
        "the memory map needs more TDMRs than there are",
        "TDMR_RESERVED_AREAS_EXHAUSTED",
        past=True,
    ),
    _row(
        "seamcall",
        Role.FAILURE,
        r"SEAMCALL \((?P<leaf>0x[0-9a-f]{1,16}|\d{1,9})\) failed: (?P<status>0x[0-9a-f]{1,16}).*",
        "a SEAMCALL of the initialisation failed",
        "SEAMCALL_FAILED",
        past=True,
    ),
    _row(
        "seamcall-6.5",
        Role.FAILURE,
        r"SEAMCALL failed: CPU \d+: leaf (?P<leaf>\d{1,9}), error (?P<status>0x[0-9a-f]{1,16})\.?.*",
        "a SEAMCALL of the initialisation failed (6.5: the leaf is decimal)",
        "SEAMCALL_FAILED",
        past=True,
    ),
    _row(
        "notifier",
        Role.FAILURE,
        r"initialization failed: register_memory_notifier\(\) failed \(-?\d+\)",
        "rare error of the kernel itself",
    ),
    _row(
        "failed",
        Role.FAILURE,
        r"(?:TDX-Module |module )?initialization failed \((?P<errno>-?\d{1,9})\)\.?",
        "summary line: the cause stands above it",
    ),
    _row(
        "kvm-failed",
        Role.FAILURE,
        r"Failed to initialize TDX module\.?",
        "KVM's summary line: the cause stands above it",
        scope=_KVM,
    ),
    # KVM's requirements: each turns TDX off, and kvm_intel still loads.
    _row(
        "kvm-keyids",
        Role.FAILURE,
        r"no TDX private KeyIDs available\.?",
        "KVM sees no KeyIDs; also printed when hibernation blocked them",
        scope=_KVM,
    ),
    _row(
        "kvm-required",
        Role.FAILURE,
        r"(?P<what>.+?) (?:is|are) (?:required|reqiured) for TDX\.?",
        "a requirement is not met, TDX is switched off",
        "KVM_PREREQ",
        scope=(*_CORE, *_KVM),
    ),
    _row(
        "kvm-virt",
        Role.FAILURE,
        r"(?:tdx: )?tdx requires kvm\.(?P<what>enable_virt_at_load)=1\.?",
        "KVM must turn virtualisation on when it loads",
        "KVM_PREREQ",
        scope=_KVM,
    ),
    _row(
        "kvm-vcpus",
        Role.FAILURE,
        r"Disable TDX: MAX_VCPU_PER_TD \(\d+\) smaller than number of logical CPUs \(\d+\)\.?",
        "more CPUs than this module lets one TD have",
        "KVM_PREREQ",
        scope=_KVM,
    ),
    _row(
        "kvm-msr",
        Role.FAILURE,
        r"MSR \S+ isn't included by kvm_find_user_return_msr\.?",
        "KVM does not track an MSR that TDX needs",
        "KVM_PREREQ",
        scope=_KVM,
    ),
    # The way there.
    _row(
        "start",
        Role.START,
        r"BIOS enabled: private KeyID range \[(?P<low>\d{1,9}), ?(?P<high>\d{1,9})\)\.?",
        "the sequence starts; from MSR 0x87",
    ),
    _row("s3", Role.PROGRESS, r"Disable ACPI S3\b.*", "information, always printed", past=True),
    _row("kexec", Role.PROGRESS, r"Disable Kexec\..*", "6.6: information", past=True),
    _row(
        "version",
        Role.PROGRESS,
        r"(?:TDX module: attributes 0x[0-9a-f]+, vendor_id 0x[0-9a-f]+, major_version (?P<major>\d+), "
        r"minor_version (?P<minor>\d+), build_date \d+, build_num (?P<build>\d+)"
        r"|TDX module (?P<dotted>\d[\d.]*), build number \d+, build date [0-9a-f]+"
        r"|(?:TDX module version|[Mm]odule ver(?:sion|son)): (?P<plain>\d[\d.]*))",
        "the module answered once; not yet success",
        past=True,
    ),
    _row("cmr", Role.PROGRESS, r"CMR: \[.*", "a convertible memory region", past=True),
    _row(
        "pamt",
        Role.PROGRESS,
        r"(?P<kb>\d+) KBs? allocated for PAMT\.?",
        "about 1/256 of RAM; far less with Dynamic PAMT",
        past=True,
    ),
    _row("dynamic-pamt", Role.PROGRESS, r"Enable Dynamic PAMT\.?", "the PAMT grows on demand", past=True),
    _row("numa", Role.PROGRESS, r".*unable to find local NUMA node for PAMT.*", "a warning", past=True),
    _row(
        "tdmr-limit",
        Role.PROGRESS,
        r"consumed TDMRs reaching limit:.*",
        "a warning about the memory map",
        past=True,
    ),
    # TME, which TDX stands on.
    _row("tme-on", Role.MEMORY, r"enabled by BIOS", "memory encryption is on", scope="x86/tme: "),
    _row("tme-off", Role.MEMORY, r"not enabled by BIOS", "memory encryption is off", scope="x86/tme: "),
    _row(
        "tme-differs",
        Role.MEMORY,
        r"configuration is inconsistent between CPUs",
        "packages differ",
        scope="x86/tme: ",
    ),
    _row(
        "mktme",
        Role.MEMORY,
        r"(?:enabled by BIOS|\d+ KeyIDs available)",
        "multi-key encryption is on",
        scope="x86/mktme: ",
    ),
    # After the initialisation.
    _row(
        "run-seamcall",
        Role.RUNTIME,
        r"0x[0-9a-f]+\) failed: 0x[0-9a-f]+.*",
        "a SEAMCALL failed at run time; the host is up",
        scope="SEAMCALL (",
    ),
    _row(
        "run-tdp",
        Role.RUNTIME,
        r" +Please enable TDP MMU for TDX\.",
        "run-time message of Canonical's 6.8",
        scope="TDX requires TDP MMU.",
    ),
    _row("run-aug", Role.RUNTIME, r".*\btdx_\w+.*", "run-time warning of KVM", scope="WARNING: "),
    _row(
        "run-offline",
        Role.RUNTIME,
        r"to have an online CPU\..*",
        "a CPU was refused to go offline",
        scope=("TDX requires all packages ", "kvm_intel: TDX requires all packages "),
    ),
    _row(
        "run-poison",
        Role.RUNTIME,
        r".*TDX private memory error\. Possible kernel bug\.",
        "poison was consumed",
        scope="mce: ",
    ),
    _row(
        "run-kexec",
        Role.RUNTIME,
        r"Not allowed on platform with tdx_pw_mce bug.*",
        "kdump is not available on SPR/EMR; TDX is fine",
        scope="kexec: ",
    ),
    # What the log says about the machine.
    _row("linux", Role.CONTEXT, r"(?P<release>\S+).*", "kernel release", scope="Linux version "),
    _row(
        "cmdline",
        Role.CONTEXT,
        r"(?P<cmdline>.*)",
        "kernel command line",
        scope=("Command line: ", "Kernel command line: "),
    ),
    _row(
        "cpu",
        Role.CONTEXT,
        r"CPU0: (?P<name>.*?) \(family: (?P<family>0x[0-9a-f]{1,8}), model: (?P<model>0x[0-9a-f]{1,8}).*",
        "CPU model",
        scope="smpboot: ",
    ),
    # Last: any other line of TDX's own code still shows that the sequence began.
    _row("core-other", Role.PROGRESS, r".*", "another line of the kernel's TDX code"),
)


@lru_cache(maxsize=1024)
def classify(message: str) -> tuple[Message, re.Match[str]] | None:
    """The first row of the table that the whole message matches, with its match."""
    for row in MESSAGES:
        match = row.match(message)
        if match:
            return row, match
    return None
