"""What the kernel says of TDX after the initialisation: rows of the table in ``_messages``."""

from __future__ import annotations

from labkit.host._message import KVM_HEADS, Message, Role, row

AFTER: tuple[Message, ...] = (
    row(
        "run-seamcall",
        Role.RUNTIME,
        r"SEAMCALL(?: failed: CPU \d+: leaf )?[ :]?\s?[\[(]?"
        r"(?P<leaf>0x[0-9a-f]{1,16}|\d{1,9}|[Tt][Dd][Hh][_.][\w.]{1,40}?)[\])]?(?: failed: |, error )"
        r"(?P<status>0x[0-9a-f]{1,16})\b.*",
        "a SEAMCALL failed at run time; the host is up",
        needle="SEAMCALL",
        scope=(*KVM_HEADS, ""),
    ),
    row(
        "run-tdh",
        Role.RUNTIME,
        r".{0,80}?\b(?P<leaf>TDH[_.][A-Za-z][\w.]{1,40}?)\b[()]{0,2}[: ].{0,60}?"
        r"(?P<status>0x[0-9a-f]{9,16})\b.*",
        "a hypervisor says that a SEAMCALL failed",
        needle="TDH",
        scope=("vmkernel: ", *KVM_HEADS, ""),
    ),
    row(
        "esxi-unsupported",
        Role.FAILURE,
        r".{0,80}?\bTDX: Unsupported on CPU\b.*",
        "ESXi: the CPU has no TDX, or firmware left it off",
        "PLATFORM_NOT_TDX",
        scope="vmkernel: ",
    ),
    row(
        "esxi",
        Role.CONTEXT,
        r".{0,80}?\bTDX\b.*",
        "ESXi speaks of TDX, in words of its own",
        scope="vmkernel: ",
    ),
    row(
        "run-exit",
        Role.RUNTIME,
        r"(?:[\w./-]{1,60}(?:\[\d+\])?: )?KVM: unknown exit, hardware reason "
        r"(?P<reason>(?:0x)?[0-9a-f]{1,16})",
        "KVM met an exit of a TD that it does not know",
        needle="KVM: unknown exit",
        scope="",
    ),
    row(
        "run-init",
        Role.RUNTIME,
        r"(?:[\w./-]{1,60}(?:\[\d+\])?: )?(?P<call>KVM_TDX_\w{1,40}) failed: ?(?P<why>.{1,80})",
        "QEMU says that KVM refused to build a TD",
        needle="KVM_TDX_",
        scope="",
    ),
    row(
        "panic",
        Role.PANIC,
        r"(?P<why>.*)",
        "the kernel stopped",
        scope="Kernel panic - not syncing: ",
    ),
    row(
        "run-requires",
        Role.RUNTIME,
        r"(?P<what>TDP MMU|mmio caching)\. +Please enable (?P=what) for TDX\.?",
        "Canonical's 6.8: at run time, or when KVM loads, and TDX is then off",
        scope=("TDX requires ", "kvm_intel: TDX requires "),
    ),
    row("run-aug", Role.RUNTIME, r".*\btdx_\w+.*", "run-time warning of KVM", scope="WARNING: "),
    row(
        "update-lost",
        Role.RUNTIME,
        r"Failed to initialize new TDX module -?\d{1,9}\.?",
        "an update at run time took the module away",
        scope="seamldr: ",
    ),
    row(
        "run-update",
        Role.RUNTIME,
        r".*\b(?:[Ff]ail\w*|[Ee]rror|not)\b.*",
        "an update of the module at run time did not work",
        scope="seamldr: ",
    ),
    row(
        "run-offline",
        Role.RUNTIME,
        r"to have an online CPU\..*",
        "a CPU was refused to go offline",
        scope=("TDX requires all packages ", "kvm_intel: TDX requires all packages "),
    ),
    row(
        "run-poison",
        Role.RUNTIME,
        r".*TDX private memory error\. Possible kernel bug\.",
        "poison was consumed",
        scope="mce: ",
    ),
    row(
        "run-kexec",
        Role.RUNTIME,
        r"Not allowed on platform with tdx_pw_mce bug.*",
        "kdump is not available on SPR/EMR; TDX is fine",
        scope="kexec: ",
    ),
)
