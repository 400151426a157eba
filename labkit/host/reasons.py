"""The reason codes, in order of precedence, each with its sentence and its next action."""

from __future__ import annotations

from dataclasses import dataclass

HOST = "host"
LAUNCH = "launch"
ATTESTATION = "attestation"


@dataclass(frozen=True)
class Reason:
    """One reason code.

    track: whether the module is up (host), whether a TD can be launched, or whether it can be attested.
    problems: numbers of the common problems (`labkit.host.REMEDIES`) whose remedies fit.
    """

    code: str
    track: str
    summary: str
    next_action: str
    problems: tuple[int, ...] = ()


_BIOS = (
    "In the BIOS set all six: TME, TME-MT, the TME-MT/TDX key split, TDX, the TDX SEAM loader, and SGX; "
    "save, then power off and on again (a cold boot)."
)

# Order is precedence: the first that holds is the root cause, the rest are consequences or unknown.
_ROWS = (
    Reason(
        "INSIDE_TD_GUEST",
        HOST,
        "This system runs inside a TD: it is a guest, not a TDX host.",
        "Run `labkit verify` on the host; in here use `labkit attest`.",
        (13,),
    ),
    Reason(
        "INSIDE_VM",
        HOST,
        "This machine is itself a virtual machine.",
        "Use the server itself (bare metal): Linux starts no TDs inside a virtual machine. To learn without "
        "it, `labkit boot --platform emulated`.",
        (13,),
    ),
    Reason(
        "PLATFORM_NOT_TDX",
        HOST,
        "This machine cannot be a TDX host.",
        "Use a machine with a TDX-capable Intel Xeon. To learn without it, `labkit boot --platform "
        "emulated`.",
        (13,),
    ),
    Reason(
        "KERNEL_NO_TDX",
        HOST,
        "The running kernel has no support for TDX hosts.",
        "Boot a kernel with INTEL_TDX_HOST and KVM_INTEL_TDX (upstream 6.16 or later, or Canonical's -intel "
        "kernel), choose it in the boot loader and pin it.",
        (4,),
    ),
    Reason(
        "TME_OFF",
        HOST,
        "The firmware left memory encryption (TME) off, and TDX stands on it.",
        "In the BIOS enable Total Memory Encryption (TME) and Multi-Tenant (TME-MT), then cold boot.",
        (1, 11),
    ),
    Reason(
        "NO_KEYIDS",
        HOST,
        "The firmware reserves fewer than two encryption KeyIDs for TDX.",
        "In the BIOS set the TME-MT/TDX key split to a value above 0, then cold boot.",
        (1, 11),
    ),
    Reason(
        "HIBERNATION_ENABLED",
        HOST,
        "The kernel refuses TDX because this system could hibernate.",
        "Add `nohibernate` to the kernel command line and reboot.",
        (5,),
    ),
    Reason("BIOS_NOT_ENABLED", HOST, "The firmware did not enable TDX.", _BIOS, (1,)),
    Reason(
        "MODULE_NOT_LOADED",
        HOST,
        "The firmware enabled TDX, but no TDX module is in memory.",
        "Update the BIOS, or put the TDX module and SEAM loader for this CPU line into \\EFI\\TDX\\ "
        "of the boot "
        "partition; then cold boot.",
        (2,),
    ),
    Reason(
        "MODULE_TOO_OLD",
        HOST,
        "The TDX module is too old for this kernel.",
        "Update the TDX module (BIOS update, or newer module files in \\EFI\\TDX\\); 1.5.06 or later.",
        (2,),
    ),
    Reason(
        "TDMR_RESERVED_AREAS_EXHAUSTED",
        HOST,
        "The memory map has more holes than this kernel can describe to the module.",
        "Boot a newer kernel with the CMR/TDMR fix, or simplify the memory map (CXL and mirroring "
        "off in the BIOS).",
        (10,),
    ),
    Reason(
        "SEAMCALL_FAILED",
        HOST,
        "The TDX module refused a call of its initialisation.",
        "Update the BIOS; then compare the status with the decoded cause.",
        (3,),
    ),
    Reason(
        "KVM_PARAM_OFF",
        HOST,
        "KVM was not asked to use TDX: its parameter is off.",
        "Add `kvm_intel.tdx=1` to the kernel command line, reboot, and look into /proc/cmdline afterwards.",
        (6,),
    ),
    Reason(
        "KVM_PREREQ",
        HOST,
        "KVM switched TDX off because something it needs is missing.",
        "Remove the conflicting option from the kernel command line or /etc/modprobe.d, then reboot.",
        (6,),
    ),
    Reason(
        "INIT_NOT_CONFIRMED",
        HOST,
        "The initialisation of TDX began, but nothing confirms that it succeeded.",
        "Run `sudo labkit verify`: the MSRs tell whether the BIOS is the cause; check the SEAM "
        "loader, SGX and the "
        "DIMM population.",
        (1, 12),
    ),
    Reason(
        "KVM_INTEL_NOT_LOADED",
        LAUNCH,
        "The kernel module kvm_intel is not loaded.",
        "Run `sudo modprobe kvm_intel` and read its error in `dmesg`.",
        (15,),
    ),
    Reason(
        "DEV_KVM_PERMISSION",
        LAUNCH,
        "This login cannot open /dev/kvm.",
        "Run `sudo usermod -aG kvm $USER` and log in again; in a container add `--device /dev/kvm`.",
        (15,),
    ),
    Reason(
        "QEMU_NO_TDX",
        LAUNCH,
        "This QEMU cannot build TDs.",
        "Install QEMU 10.1 or later, or the fork that belongs to your kernel, and pin it.",
        (7,),
    ),
    Reason(
        "QEMU_KVM_ABI_MISMATCH",
        LAUNCH,
        "QEMU and KVM are of different TDX generations.",
        "Take QEMU and the kernel from the same source.",
        (8,),
    ),
    Reason(
        "TDVF_MISSING",
        LAUNCH,
        "No firmware on this host has TDVF metadata.",
        "Install it: `ovmf-inteltdx` on Ubuntu 25.10 or later, `edk2-ovmf` on Fedora and Enterprise Linux.",
        (9,),
    ),
    Reason(
        "KEYIDS_EXHAUSTED",
        LAUNCH,
        "Every TDX KeyID is in use.",
        "Stop some TDs, or raise the TME-MT/TDX key split in the BIOS.",
        (1,),
    ),
    # Attestation: a separate verdict.
    Reason(
        "SGX_OFF",
        ATTESTATION,
        "SGX is off, and TD quotes are signed in an SGX enclave.",
        "In the BIOS enable SGX, then cold boot; the kernel needs X86_SGX.",
        (14, 12),
    ),
    Reason(
        "MCHECK_ERROR",
        ATTESTATION,
        "The SGX registration data of this platform is broken.",
        'In the BIOS run "SGX Factory Reset", then register the platform again.',
        (15,),
    ),
    Reason(
        "QGS_DOWN",
        ATTESTATION,
        "The quote generation service (qgsd) does not run.",
        "Run `sudo systemctl enable --now qgsd`.",
        (14,),
    ),
    Reason(
        "QGS_NO_VSOCK",
        ATTESTATION,
        "The quote service listens on its UNIX socket only, so quotes over vsock time out.",
        "Uncomment `port = 4050` in /etc/qgs.conf and run `sudo systemctl restart qgsd`.",
        (14,),
    ),
    Reason(
        "PCCS_DOWN",
        ATTESTATION,
        "The certificate cache (PCCS) that this host is set up for does not run.",
        "Run `sudo systemctl restart pccs`, or set pccs_url in /etc/sgx_default_qcnl.conf to one that runs.",
        (14,),
    ),
    Reason(
        "NOT_REGISTERED",
        ATTESTATION,
        "This platform is not registered with Intel's registration service.",
        "Run `sudo systemctl start mpa_registration_tool` and read /var/log/mpa_registration.log.",
        (14,),
    ),
    Reason(
        "PRE_PRODUCTION",
        ATTESTATION,
        "This is a pre-production part: its quotes do not verify.",
        "Use a production CPU.",
        (14,),
    ),
    # INDETERMINATE: nothing failed, nothing is proved.
    Reason(
        "NO_INIT_LINES",
        HOST,
        "The kernel log has no line of the initialisation of TDX, so nothing is proved either way.",
        "Run `sudo journalctl -k -b | grep -i tdx` and look into /sys/module/kvm_intel/parameters/tdx.",
    ),
    Reason(
        "EMPTY_LOG",
        HOST,
        "The kernel log is empty, so nothing is proved either way.",
        "Run `sudo dmesg` or `sudo journalctl -k -b` and check again with `labkit verify --kernel-log FILE`.",
    ),
    Reason(
        "LOG_UNREADABLE",
        HOST,
        "This login cannot read the kernel log, and no other fact settles the question.",
        "Run `sudo labkit verify`, or join the group `systemd-journal` or `adm` and log in again.",
    ),
)

REASONS: dict[str, Reason] = {row.code: row for row in _ROWS}
