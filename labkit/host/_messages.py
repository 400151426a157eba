"""The kernel's own words about TDX, by generation: one row a message.

Wording from the kernel sources: ``arch/x86/virt/vmx/tdx/tdx.c``, ``arch/x86/kvm/vmx/tdx.c``,
``arch/x86/kernel/cpu/intel.c``, ``arch/x86/coco/tdx/tdx.c``, of kernels 5.15-mvp to 7.1. A person who meets a
new wording adds a row. Patterns must match a whole message, after the log's own prefix has been taken off:
a host name, a CPU model or a command line that merely contains "tdx" proves nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache

from labkit.host._later_messages import AFTER
from labkit.host._message import CORE_HEADS, KVM_HEADS, Message, Role, row

MESSAGES: tuple[Message, ...] = (
    # Inside a TD.
    row("guest", Role.GUEST, r"Guest detected", "the kernel runs inside a TD"),
    row(
        "guest-cc",
        Role.GUEST,
        r".*\bIntel TDX\b.*",
        "the kernel's encryption is a TD's",
        scope="Memory Encryption Features active: ",
    ),
    row(
        "guest-idle",
        Role.GUEST,
        r"using TDX aware idle routine",
        "the kernel runs inside a TD",
        scope="process: ",
    ),
    row("guest-attributes", Role.GUEST, r"(?:Attributes|TD_CTLS):.*", "a TD's own attributes", scope="tdx: "),
    row(
        "guest-systemd",
        Role.GUEST,
        r"Detected confidential virtualization tdx\.?",
        "systemd sees a TD",
        scope="systemd[1]: ",
    ),
    # Outcome of the initialisation.
    row(
        "initialized",
        Role.SUCCESS,
        r"(?:TDX[- ][Mm]odule|[Mm]odule) initialized\.?|Successfully initialized TDX module\.?",
        "the TDX module is up",
        past=True,
    ),
    row(
        "kvm-supported",
        Role.SUCCESS,
        r"TDX is supported\.?",
        "before upstream: KVM says so when the module has come up",
        past=True,
        scope=KVM_HEADS,
    ),
    row(
        "kvm-could",
        Role.CONTEXT,
        r"(?:kvm: )?TDX is supported\. x86 phys bits \d+",
        "before upstream: KVM could do TDX; the module comes up later",
        scope=(*CORE_HEADS, *KVM_HEADS),
    ),
    row(
        "not-supported",
        Role.FAILURE,
        r"TDX not supported by the host platform",
        "7.1+: printed on every x86 machine without TDX whose kernel has CONFIG_INTEL_TDX_HOST",
        "PLATFORM_NOT_TDX",
    ),
    row(
        "kvm-not-supported",
        Role.FAILURE,
        r"TDX not supported by the host platform",
        "7.1+: the same of KVM's, where the kernel found no private KeyIDs",
        "PLATFORM_NOT_TDX",
        scope=KVM_HEADS,
    ),
    row(
        "disabled-platform",
        Role.FAILURE,
        r"Cannot enable TDX on TDX disabled platform\.?",
        "MVP era: the platform has no TDX",
        "PLATFORM_NOT_TDX",
        scope=(*CORE_HEADS, *KVM_HEADS),
    ),
    row(
        "kvm-bare-metal",
        Role.FAILURE,
        r"TDX requires baremetal\. +Not Supported on VMM guest\.?",
        "before upstream: KVM runs under another hypervisor",
        "INSIDE_VM",
        scope=(*KVM_HEADS, ""),
        needle="TDX requires baremetal",
    ),
    row(
        "no-ept-ve",
        Role.FAILURE,
        r"CPU doesn't support EPT violation #VE\.?",
        "MVP era: the CPU (or the VM around it) lacks what TDX needs",
        "PLATFORM_NOT_TDX",
    ),
    row(
        "few-keyids",
        Role.FAILURE,
        r"initialization failed: too few private KeyIDs available\.?",
        "the key split leaves TDX fewer than two KeyIDs",
        "NO_KEYIDS",
    ),
    row(
        "hibernation",
        Role.FAILURE,
        r"initialization failed: Hibernation support is enabled\.?",
        "the kernel refuses TDX while it could hibernate",
        "HIBERNATION_ENABLED",
    ),
    row(
        "bios",
        Role.FAILURE,
        r"(?:\[[Ff]irmware [Bb]ug\]: )?(?:TDX is )?not enabled by BIOS\.?"
        r"|SEAMCALL failed: TDX disabled by BIOS\.?|\[BIOS bug\]: TDX isn't enabled\.?",
        "firmware did not enable TDX",
        "BIOS_NOT_ENABLED",
    ),
    row(
        "seamrr",
        Role.FAILURE,
        r"SEAMRR (?:is )?not enabled(?: by BIOS)?\.?",
        "before upstream: firmware set no SEAM memory range",
        "BIOS_NOT_ENABLED",
    ),
    row(
        "not-loaded",
        Role.FAILURE,
        r"(?:SEAMCALL failed: )?(?:TDX )?[Mm]odule (?:is )?not loaded\.?",
        "the first SEAMCALL found no module in memory",
        "MODULE_NOT_LOADED",
        past=True,
    ),
    row(
        "no-module",
        Role.FAILURE,
        r"No TDX module loaded by BIOS\.?|Failed to load TDX module\.?",
        "MVP era: no module in memory",
        "MODULE_NOT_LOADED",
    ),
    row(
        "no-seamldr",
        Role.FAILURE,
        r"No P-SEAMLDR is available\.?"
        r"|(?:The )?P-SEAMLDR is not loaded(?: by BIOS\.\s+Skip TDX initialization)?\.?",
        "before upstream: no SEAM loader in memory",
        "MODULE_NOT_LOADED",
    ),
    row(
        "rbp",
        Role.FAILURE,
        r"frame pointer \(RBP\) clobber bug present, upgrade TDX module\.?",
        "this module version clobbers RBP",
        "MODULE_TOO_OLD",
        past=True,
    ),
    row(
        "no-rbp-mod",
        Role.FAILURE,
        r"NO_RBP_MOD feature is not supported\.?",
        "this module version clobbers RBP (older wording)",
        "MODULE_TOO_OLD",
        past=True,
    ),
    row(
        "reserved-areas",
        Role.FAILURE,
        r"initialization failed: TDMR \[[^)\]]*\): reserved areas exhausted\.?",
        "the memory map has more holes than one TDMR can hold",
        "TDMR_RESERVED_AREAS_EXHAUSTED",
        past=True,
    ),
    row(
        "tdmrs",
        Role.FAILURE,
        r"initialization failed: TDMRs exhausted\.?",
        "the memory map needs more TDMRs than there are",
        "TDMR_RESERVED_AREAS_EXHAUSTED",
        past=True,
    ),
    row(
        "seamcall",
        Role.FAILURE,
        r"SEAMCALL \((?P<leaf>0x[0-9a-f]{1,16}|\d{1,9})\) failed: (?P<status>0x[0-9a-f]{1,16}).*",
        "a SEAMCALL of the initialisation failed",
        "SEAMCALL_FAILED",
        past=True,
    ),
    row(
        "debug-config",
        Role.PROGRESS,
        r"SEAMCALL failed: (?:CPU \d+: )?leaf 254, error 0x[0-9a-f]{1,16}\.?"
        r"|TDDEBUGCONFIG isn't supported\.?",
        "MVP era: a call for debugging, which a module for production refuses",
        past=True,
    ),
    row(
        "seamcall-6.5",
        Role.FAILURE,
        r"SEAMCALL failed: (?:CPU \d+: )?leaf (?P<leaf>\d{1,9}), error (?P<status>0x[0-9a-f]{1,16})\.?.*",
        "a SEAMCALL of the initialisation failed (6.5: the leaf is decimal)",
        "SEAMCALL_FAILED",
        past=True,
    ),
    row(
        "notifier",
        Role.FAILURE,
        r"initialization failed: register_memory_notifier\(\) failed \(-?\d+\)",
        "rare error of the kernel itself",
    ),
    row(
        "failed",
        Role.FAILURE,
        r"(?:(?:TDX[- ][Mm]odule |module )?initialization failed \(|Failed to initialize TDX module )"
        r"(?P<errno>-?\d{1,9})\)?\.?",
        "summary line: the cause stands above it",
    ),
    row(
        "kvm-failed",
        Role.FAILURE,
        r"Failed to initialize TDX module\.?(?: +Shut it down\.?)?",
        "KVM's summary line, or before upstream the kernel's: the cause stands above it",
        scope=(*CORE_HEADS, *KVM_HEADS),
    ),
    # KVM's requirements: each turns TDX off, and kvm_intel still loads.
    row(
        "kvm-keyids",
        Role.FAILURE,
        r"no TDX private KeyIDs available\.?",
        "KVM sees no KeyIDs; also printed when hibernation blocked them",
        scope=KVM_HEADS,
    ),
    row(
        "kvm-required",
        Role.FAILURE,
        r"(?P<what>.+?) (?:is|are) (?:required|reqiured) for TDX\.?",
        "a requirement is not met, TDX is switched off",
        "KVM_PREREQ",
        scope=(*CORE_HEADS, *KVM_HEADS),
    ),
    row(
        "kvm-no-ept",
        Role.FAILURE,
        r"Cannot enable TDX with EPT disabled\.?",
        "before upstream: KVM runs without EPT, so TDX is switched off",
        "KVM_PREREQ",
        scope=(*CORE_HEADS, *KVM_HEADS),
    ),
    row(
        "kvm-virt",
        Role.FAILURE,
        r"(?:tdx: )?tdx requires kvm\.(?P<what>enable_virt_at_load)=1\.?",
        "KVM must turn virtualisation on when it loads",
        "KVM_PREREQ",
        scope=KVM_HEADS,
    ),
    row(
        "kvm-vcpus",
        Role.FAILURE,
        r"Disable TDX: MAX_VCPU_PER_TD \(\d+\) smaller than number of logical CPUs \(\d+\)\.?",
        "more CPUs than this module lets one TD have",
        "KVM_PREREQ",
        scope=KVM_HEADS,
    ),
    row(
        "kvm-msr",
        Role.FAILURE,
        r"MSR \S+ isn't included by kvm_find_user_return_msr\.?",
        "KVM does not track an MSR that TDX needs",
        "KVM_PREREQ",
        scope=KVM_HEADS,
    ),
    row(
        "kvm-no-param",
        Role.FAILURE,
        r"unknown parameter 'tdx' ignored",
        "TDX was asked for, and this kernel's KVM has none",
        "KERNEL_NO_TDX",
        scope="kvm_intel: ",
    ),
    row(
        "vmx-off",
        Role.FAILURE,
        r"VMX (?:\(outside TXT\) disabled by BIOS|not enabled \(by BIOS\) in MSR_IA32_FEAT_CTL.*"
        r"|not supported by CPU \d+)|disabled by bios",
        "firmware left virtualisation off, and without it there is no KVM",
        "KVM_PREREQ",
        scope=("x86/cpu: ", *KVM_HEADS),
    ),
    # The way there.
    row(
        "start-5.19",
        Role.START,
        r"SEAMRR enabled\.?|TDX enabled by BIOS\.?",
        "before upstream: the sequence starts",
    ),
    row(
        "start",
        Role.START,
        r"(?:BIOS enabled: |TDX enabled by BIOS\. )?(?:TDX )?private KeyID range:? "
        r"\[(?P<low>\d{1,9}), ?(?P<high>\d{1,9})\)\.?",
        "the sequence starts; from MSR 0x87",
    ),
    row("s3", Role.PROGRESS, r"Disable ACPI S3\b.*", "information, always printed", past=True),
    row("kexec", Role.PROGRESS, r"Disable Kexec\..*", "6.6: information", past=True),
    row(
        "version",
        Role.PROGRESS,
        r"(?:TDX module: attributes 0x[0-9a-f]+, vendor_id 0x[0-9a-f]+, major_version (?P<major>\d{1,9}), "
        r"minor_version (?P<minor>\d{1,9}), build_date \d+, build_num (?P<build>\d{1,9})"
        r"|TDX module (?P<dotted>\d[\d.]*), build number (?P<number>\d{1,9}), build date [0-9a-f]+"
        r"|(?:TDX module version|[Mm]odule ver(?:sion|son)): (?P<plain>\d[\d.]*))",
        "the module answered once; not yet success",
        past=True,
    ),
    row("cmr", Role.PROGRESS, r"CMR: \[.*", "a convertible memory region", past=True),
    row(
        "pamt",
        Role.PROGRESS,
        r"(?P<kb>\d+) KBs? allocated for PAMT\.?",
        "about 1/256 of RAM; far less with Dynamic PAMT, which was under review in 2026",
        past=True,
    ),
    row("dynamic-pamt", Role.PROGRESS, r"Enable Dynamic PAMT\.?", "the PAMT grows on demand", past=True),
    row("numa", Role.PROGRESS, r".*unable to find local NUMA node for PAMT.*", "a warning", past=True),
    row(
        "tdmr-limit",
        Role.PROGRESS,
        r"consumed TDMRs reaching limit:.*",
        "a warning about the memory map",
        past=True,
    ),
    # TME, which TDX stands on.
    row("tme-on", Role.MEMORY, r"enabled by BIOS", "memory encryption is on", scope="x86/tme: "),
    row("tme-off", Role.MEMORY, r"not enabled by BIOS", "memory encryption is off", scope="x86/tme: "),
    row(
        "tme-differs",
        Role.MEMORY,
        r"configuration is inconsistent between CPUs",
        "packages differ",
        scope="x86/tme: ",
    ),
    row(
        "mktme",
        Role.MEMORY,
        r"(?:enabled by BIOS|\d+ KeyIDs available)",
        "multi-key encryption is on",
        scope="x86/mktme: ",
    ),
    *AFTER,
    # What the log says about the machine.
    row("linux", Role.CONTEXT, r"(?P<release>\S+).*", "kernel release", scope="Linux version "),
    row(
        "cmdline",
        Role.CONTEXT,
        r"(?P<cmdline>.*)",
        "kernel command line",
        scope=("Command line: ", "Kernel command line: "),
    ),
    row(
        "cpu",
        Role.CONTEXT,
        r"CPU0: (?P<name>.*?) \(family: (?P<family>0x[0-9a-f]{1,8}), model: (?P<model>0x[0-9a-f]{1,8}).*",
        "CPU model",
        scope="smpboot: ",
    ),
    row(
        "hypervisor",
        Role.CONTEXT,
        r"(?P<name>.{1,60})",
        "a hypervisor around it",
        scope="Hypervisor detected: ",
    ),
    row("arm", Role.CONTEXT, r".*", "a kernel for ARM", scope="Booting Linux on physical CPU 0x"),
    row(
        "amd",
        Role.CONTEXT,
        r"(?:TSC scaling supported|Nested (?:Virtualization|Paging) enabled|LBR virtualization supported"
        r"|SEV(?:-ES|-SNP)? (?:enabled|disabled|supported)|RMP table physical range|AMD SEV).*",
        "a machine of AMD's",
        scope=("kvm_amd: ", "SEV-SNP: ", "Memory Encryption Features active: "),
    ),
    row(
        "kvm-other",
        Role.CONTEXT,
        r".*",
        "another line of KVM's TDX code",
        scope=("kvm_intel: tdx: ", "kvm: tdx: "),
    ),
    # Last: any other line of TDX's own code still shows that the sequence began.
    row("core-other", Role.PROGRESS, r".*", "another line of the kernel's TDX code"),
)


@lru_cache(maxsize=1024)
def classify(message: str) -> tuple[Message, re.Match[str]] | None:
    """The first row of the table that the whole message matches, with its match."""
    for entry in MESSAGES:
        match = entry.match(message)
        if match:
            return entry, match
    return None
