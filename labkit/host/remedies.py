"""The fifteen common problems of TDX hosts: what they look like, what to do, where that was learnt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Remedy:
    """One common problem.

    steps: in words a BIOS menu or a shell uses, in the order to try them.
    links: the public threads in which it was met.
    """

    number: int
    title: str
    signs: str
    steps: tuple[str, ...]
    links: tuple[str, ...]


def _links(*threads: str) -> tuple[str, ...]:
    """``#12`` is canonical/tdx; ``owner/repo#12`` any other."""
    found = []
    for thread in threads:
        repository, _, number = thread.rpartition("#")
        found.append(f"https://github.com/{repository or 'canonical/tdx'}/issues/{number}")
    return tuple(found)


_ROWS = (
    Remedy(
        1,
        "BIOS items are incomplete",
        'silence after "BIOS enabled", or "not enabled by BIOS"',
        (
            "Socket Configuration > Processor Configuration: Memory Encryption (TME): Enabled",
            "Total Memory Encryption Multi-Tenant (TME-MT): Enabled",
            "TME-MT memory integrity: Disabled (logical, the usual choice) or Enabled (with a MAC)",
            "TME-MT/TDX key split: 1 or more",
            "Trust Domain Extension (TDX): Enabled",
            "TDX Secure Arbitration Mode Loader (SEAM Loader): Enabled",
            "SW Guard Extensions (SGX): Enabled",
            "Save, power off, power on (a warm reboot is not enough)",
        ),
        _links("#260", "#382", "#33", "#102", "intel/td-partitioning#1"),
    ),
    Remedy(
        2,
        "TDX module or SEAM loader is missing or old",
        "`module not loaded`, TDX_SYS_NOT_READY on TDH.SYS.RD, the RBP line",
        (
            "Update the BIOS; most carry a TDX module",
            "Or put the module and SEAM loader files for this CPU line (1.5 for SPR, EMR, SRF; 2.0 "
            "for GNR) into "
            "\\EFI\\TDX\\ of the boot partition",
            "Cold boot",
        ),
        _links("#83", "#331", "#425", "#348"),
    ),
    Remedy(
        3,
        "BIOS is old",
        "TDH.SYS.INIT with TDX_INCORRECT_CPUID_VALUE or TDX_INCORRECT_MSR_VALUE",
        ("Update the BIOS", "For MSR 0x122: set TSX to its default (no `tsx=` on the command line)"),
        _links("#161", "#25"),
    ),
    Remedy(
        4,
        "The wrong kernel was booted",
        "no TDX line in the log although the MSRs are good",
        (
            "uname -r",
            "Choose the TDX kernel in the boot loader",
            "Pin it: GRUB_DEFAULT in /etc/default/grub, update-grub",
        ),
        _links("#424"),
    ),
    Remedy(
        5,
        "Hibernation is possible",
        "`initialization failed: Hibernation support is enabled`",
        ("Add nohibernate to GRUB_CMDLINE_LINUX in /etc/default/grub", "sudo update-grub", "sudo reboot"),
        _links("#411"),
    ),
    Remedy(
        6,
        "kvm_intel.tdx=1 is missing or mistyped",
        "/sys/module/kvm_intel/parameters/tdx is N",
        (
            "Add kvm_intel.tdx=1 to GRUB_CMDLINE_LINUX in /etc/default/grub",
            "sudo update-grub && sudo reboot",
            "cat /proc/cmdline /sys/module/kvm_intel/parameters/tdx",
        ),
        _links("#411"),
    ),
    Remedy(
        7,
        "QEMU does not know TDX",
        "`does not accept value 'tdx-guest'`; an upgrade replaced the TDX build",
        (
            "qemu-system-x86_64 -object help | grep tdx",
            "Install QEMU 10.1 or later, or reinstall the TDX build",
            "apt-mark hold qemu-system-x86",
        ),
        _links("#46", "#135"),
    ),
    Remedy(
        8,
        "QEMU and KVM are of different generations",
        "`vm-type tdx not supported by KVM` on a good host",
        ("Take kernel and QEMU from one source: both upstream, or both from the same fork",),
        _links("#385", "#353", "#342", "intel-staging/qemu-tdx#6", "intel/tdx-tools#223"),
    ),
    Remedy(
        9,
        "Firmware without TDX",
        "`KVM_TDX_INIT_MEM_REGION failed`",
        (
            "Ubuntu 25.10 or later: sudo apt install ovmf-inteltdx",
            "Fedora, Enterprise Linux: sudo dnf install edk2-ovmf",
            "labkit measure FIRMWARE",
        ),
        _links("#21", "#319", "#417"),
    ),
    Remedy(
        10,
        "The memory map is too complex",
        "`reserved areas exhausted`, on EMR and GNR with CXL",
        (
            "Boot a kernel with the CMR/TDMR fix",
            "In the BIOS switch memory mirroring and unused CXL memory off",
        ),
        _links("#135", "#415"),
    ),
    Remedy(
        11,
        "A 46-bit address limit in the BIOS",
        "TME-MT is greyed out in the menu",
        ("Limit CPU Physical Address to 46 bits: Disabled", "Hyper-V physical address limit: Disabled"),
        _links("#343"),
    ),
    Remedy(
        12,
        "DIMM population, or SGX off",
        "TDH.SYS.LP.INIT fails without a line; the TDX menu item is missing",
        (
            "Fill slot 0 of every memory controller, alike on all sockets (sudo dmidecode -t17)",
            "SW Guard Extensions (SGX): Enabled",
        ),
        _links("intel/tdx-tools#348"),
    ),
    Remedy(
        13,
        "A CPU without TDX, or a virtual machine",
        "`TDX not supported by the host platform`, `CPU doesn't support EPT violation #VE`",
        ("Use bare metal with a TDX-capable Xeon", "labkit boot --platform emulated"),
        _links("intel/tdx-tools#234", "intel/tdx-tools#227", "intel/tdx-tools#348"),
    ),
    Remedy(
        14,
        "Quotes fail on a healthy host",
        "GetQuote times out; `No certificate data for this platform`",
        (
            "systemctl status qgsd pccs mpa_registration_tool",
            "Uncomment port = 4050 in /etc/qgs.conf, sudo systemctl restart qgsd",
            "sudo tail /var/log/mpa_registration.log",
        ),
        _links("#155", "#187", "#220", "#256", "#313", "#338", "#377", "#409"),
    ),
    Remedy(
        15,
        "Rights and tools",
        "group kvm added but not yet in this login; `lscpu` shows no tdx; MSR 0xa0 = 0x1861; "
        "KVM_TDX_INIT_VM gives EINVAL",
        (
            "sudo usermod -aG kvm $USER, then log in again",
            "Ignore lscpu: host TDX is not a CPUID flag",
            "For 0x1861: SGX Factory Reset: Enabled, once, in the BIOS",
            "For EINVAL: update the module or QEMU",
        ),
        _links("#343", "#144", "#286"),
    ),
)

REMEDIES: dict[int, Remedy] = {row.number: row for row in _ROWS}
