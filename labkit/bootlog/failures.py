"""Known failures of a run, one row each: how it shows, what it means, what to do, where it is written down.

From the issues named in the rows and from our own boots of v0.18.0 under TCG. A row whose remedy nobody has
confirmed says so.
"""

from __future__ import annotations

from labkit.bootlog._build_failures import BUILD_FAILURES
from labkit.bootlog._failure import Failure, FailureKind, Hang
from labkit.bootlog._host_failures import HOST_FAILURES

__all__ = ["FAILURES", "HANGS", "Failure", "FailureKind", "Hang"]

_OBSERVED = "observed with v0.18.0 under TCG"

FAILURES: tuple[Failure, ...] = (
    *HOST_FAILURES,
    *BUILD_FAILURES,
    # Firmware and boot loader.
    Failure(
        "firmware-db",
        FailureKind.FIRMWARE,
        r"!!!! X64 Exception Type - 01\(#DB",
        "the firmware crashed before the kernel, which older GRUBs cause at random",
        "Try again (their CI took up to three attempts); fixed from v0.10.2.",
        "asterinas#1711, PR #1710",
        fatal=True,
    ),
    Failure(
        "firmware-pf",
        FailureKind.FIRMWARE,
        r"!!!! X64 Exception Type - 0E\(#PF",
        "the firmware crashed with a page fault, as the distribution's OVMF does",
        "Use the OVMF of the image.",
        "asterinas#2394",
        fatal=True,
    ),
    Failure(
        "firmware-exception",
        FailureKind.FIRMWARE,
        r"!!!! X64 Exception Type",
        "the firmware crashed",
        "Use the OVMF of the image, and enough memory.",
        "edk2",
        weight=1,
        fatal=True,
    ),
    Failure(
        "seabios-cdrom",
        FailureKind.FIRMWARE,
        r"Boot failed: (?:Could not read from CDROM \(code 0009\)|not a bootable disk)|^No bootable device\.",
        "SeaBIOS was started instead of OVMF, and found nothing that it can boot",
        "Give OVMF by -bios; SCHEME=iommu is not for TDX.",
        "asterinas#1517",
        fatal=True,
    ),
    Failure(
        "firmware-no-medium",
        FailureKind.FIRMWARE,
        r"BdsDxe: failed to (?:load|start) Boot\d{4}.{0,200}Not Found",
        "the firmware found nothing to start on the medium",
        "Use an amd64 image and container; check that the ISO boots by UEFI.",
        "asterinas#3138",
    ),
    Failure(
        "firmware-secure-boot",
        FailureKind.FIRMWARE,
        r"BdsDxe: failed to (?:load|start) Boot\d{4}.{0,200}(?:Access Denied|Security Violation)",
        "the firmware does not start what it found: Secure Boot is on, and nobody that it trusts signed that",
        "Use the OVMF of the image, or variables without enrolled keys.",
        "edk2 BdsDxe",
    ),
    Failure(
        "firmware-assert",
        FailureKind.FIRMWARE,
        r"^ASSERT(?:_[A-Z_]{1,40})? (?:\[|.{1,200}\.c\()",
        "an assertion failed in the firmware, a debug build",
        "Use the OVMF of the image, and the machine type and memory that it was built for.",
        "edk2 DebugLib",
        before="ostd",
    ),
    Failure(
        "firmware-menu",
        FailureKind.FIRMWARE,
        r"Press any key to enter the Boot Manager Menu|^UEFI Interactive Shell",
        "the firmware found nothing to boot",
        "Check that the ISO or kernel boots by UEFI.",
        "edk2 BdsDxe",
        fatal=True,
    ),
    Failure(
        "grub-memory",
        FailureKind.FIRMWARE,
        r"^error: (?:\S{1,120}:)?\s?(?:out of memory|not enough memory|cannot allocate|can't allocate)",
        "GRUB has too little memory to load the kernel and its initramfs",
        "Give the guest more memory, with --memory or MEM=.",
        "GRUB grub-core/kern/mm.c",
        fatal=True,
        before="ostd",
    ),
    Failure(
        "grub-kernel",
        FailureKind.FIRMWARE,
        r"^error: (?:\S{1,120}:)?\s?(?:you need to load the kernel first|invalid magic number|file "
        r"`[^']{0,200}' "
        r"not found|unknown filesystem|no such device)",
        "GRUB cannot load what its menu names",
        "Build the boot medium again: `make clean` first where a build was interrupted.",
        "GRUB grub-core/loader",
        weight=1,
        fatal=True,
        before="ostd",
    ),
    Failure(
        "grub-prompt",
        FailureKind.FIRMWARE,
        r"Minimal BASH-like line editing is supported|^grub(?: rescue)?>",
        "GRUB found no menu that it could boot from, and asks for commands",
        "Build the boot medium again: `make clean` first where a build was interrupted.",
        "GRUB grub-core/normal",
        weight=1,
        fatal=True,
        before="ostd",
    ),
    # The kernel.
    Failure(
        "low-memory",
        FailureKind.PANIC,
        r"Cannot handle kernel page fault",
        "the kernel read ACPI tables that a direct boot with less than 4 GiB of memory does not map",
        "Boot with at least 4096 MiB, or through firmware.",
        _OBSERVED,
        detail=True,
        before="ostd",
    ),
    Failure(
        "framebuffer",
        FailureKind.PANIC,
        r"comps/framebuffer/src/framebuffer\.rs",
        "the kernel cannot use the framebuffer that GRUB under SeaBIOS sets up",
        "Boot the ISO through OVMF.",
        _OBSERVED,
        detail=True,
    ),
    Failure(
        "init-ended",
        FailureKind.PANIC,
        r"The init process terminates with code",
        "the first process ended, and the kernel cannot go on without it",
        "Check init= and the arguments behind `--`, and that the initramfs holds /init and a shell.",
        f"kernel/src/init.rs@v0.18.0, {_OBSERVED}",
        detail=True,
    ),
    Failure(
        "td-info",
        FailureKind.PANIC,
        r"Intel TDX not initialized, Failed to get TD info",
        "the kernel runs in a TD that does not answer TDCALLs",
        "Check the TDX module and QEMU's generation.",
        "v0.9.0 sources",
        fatal=True,
    ),
    Failure(
        "dma-conversion",
        FailureKind.PANIC,
        r"\b(?:gpa|GPA)\b.{0,80}(?:shared|private|convert|DMA)|(?:shared|private|convert|DMA).{0,80}\b(?:gpa|GPA)\b",
        "the kernel could not turn memory of the TD into shared memory for a device",
        "Take v0.18.1 or newer.",
        "asterinas PR #3339",
        detail=True,
    ),
    Failure(
        "stub-panic",
        FailureKind.PANIC,
        r"^\[PANIC\]: ",
        "the EFI stub of the kernel gave up",
        "The line itself says why; check memory and boot loader.",
        "ostd linux-bzimage setup",
        weight=1,
        fatal=True,
    ),
    Failure(
        "panic",
        FailureKind.PANIC,
        r"Uncaught panic:|Non-resettable panic!|\[OSDK\] The kernel seems panicked"
        r"|(?<!' )(?<!\d\) )panicked at [/\w]|^The panic handler panicked",
        "the kernel panicked",
        "The lines behind it say where; is the kernel of the version that the profile names?",
        "ostd panic handler",
        weight=0,
        fatal=True,
    ),
    Failure(
        "panic-without-words",
        FailureKind.PANIC,
        r"^Printing stack trace:|^\s{0,8}\d{1,3}: fn 0x[0-9a-f]{8,16} - pc 0x[0-9a-f]{8,16}\b",
        "the kernel printed a stack trace: it panicked, and the message of the panic was lost",
        "The functions in the stack trace say where; the other log of the run may have the message.",
        "ostd panic handler",
        weight=-1,
        fatal=True,
        silent=True,
    ),
    Failure(
        "linux-panic",
        FailureKind.PANIC,
        r"Kernel panic - not syncing: (?P<says>.*\S)",
        "the Linux kernel panicked",
        "Does the initrd fit the kernel? The lines above the panic say what came before it.",
        "Linux kernel/panic.c",
        weight=1,
        fatal=True,
    ),
    # The guest's own programs.
    Failure(
        "initrd-argument",
        FailureKind.GUEST,
        r"can't open '?initrd=initrd'?",
        "the firmware appended ` initrd=initrd`, which became an argument of the guest's shell",
        "Boot the ELF directly or the ISO, or end the arguments so that the word is harmless.",
        _OBSERVED,
        fatal=True,
    ),
    Failure(
        "illegal-instruction",
        FailureKind.GUEST,
        r"\bIllegal instruction\b",
        "a program in the guest uses an instruction that the TD does not have",
        "Rebuild the program for a plain x86-64 CPU.",
        "asterinas#2080",
    ),
    Failure(
        "tsm-permission",
        FailureKind.GUEST,
        r"can't create \S{0,120}/inblob: Operation not permitted",
        "this version cannot open configfs files for truncation",
        "Take a version with the change of asterinas#2160.",
        "asterinas PR #2505",
    ),
)

HANGS: tuple[Hang, ...] = (
    Hang(
        "smp-without-x2apic",
        "ostd",
        r"OSTD initialized",
        "the kernel waits for a second CPU that this QEMU, without x2APIC under TCG, cannot start",
        "Boot with one CPU, or with a QEMU whose TCG has x2APIC (11.1 has it).",
        _OBSERVED,
    ),
    Hang(
        "grub-2.06",
        "grub",
        r"Booting in blind mode",
        "GRUB 2.06 cannot start this kernel with `linux`",
        "Use GRUB 2.12 or newer, or the multiboot2 entry.",
        _OBSERVED,
    ),
    Hang(
        "halted",
        "",
        r"Halting the machine\.\.\.",
        "the kernel halted after a panic and QEMU stays",
        "End QEMU.",
        _OBSERVED,
    ),
)
