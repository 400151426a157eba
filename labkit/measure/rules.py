"""What changed between versions of edk2 and QEMU in what a boot measures, as rules with names."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from labkit.measure.ovmf import OLDEST, OvmfCode

# The fw_cfg files behind the "ACPI DATA" events, in the order of measurement; a TD has no ``etc/tpm/log``.
ACPI_BLOBS = ("etc/table-loader", "etc/acpi/rsdp", "etc/tpm/log", "etc/acpi/tables")
SMBIOS_TABLES = "etc/smbios/smbios-tables"
"""The fw_cfg file with QEMU's SMBIOS tables."""


class RegisterKind(StrEnum):
    """What the firmware measures into: a TD's RTMRs, or a TPM whose PCRs stand for them."""

    TD = "td"
    VTPM = "vtpm"


class Separators(StrEnum):
    """Where the separators of a TD stand; edk2 commit efaf893 (stable 202411) moved one."""

    TWO_IN_RTMR0 = "edk2 before 202411"
    ONE_IN_EACH = "edk2 202411 and later"


class InitrdWord(StrEnum):
    """Where the firmware puts the word ``initrd=initrd`` that the kernel's EFI stub asks for."""

    AT_END = "edk2 up to 202502"
    AT_BEGIN = "edk2 after 202502"


class KernelHeader(StrEnum):
    """Whether QEMU writes into the kernel's set-up header before the firmware measures it.

    QEMU 10 offers the untouched file as well (``etc/boot/kernel``), and edk2 2025.02 takes that one.
    """

    PATCHED = "QEMU fills in the header"
    RAW = "QEMU leaves the file alone"


class SecureBoot(StrEnum):
    """The data of the SecureBoot variable when it is measured."""

    ABSENT = "no data"
    OFF = "one byte: off"
    ON = "one byte: on"


@dataclass(frozen=True)
class Rules:
    """The version switches of a boot, by name. The defaults are a TD under QEMU 9 and edk2 202411.

    acpi_events: how many ACPI blobs the firmware measures (edk2 of 2022 measures none into a TPM).
    smbios_event: it measures the SMBIOS tables as well (OVMF from edk2 2025.05 on).
    """

    platform: RegisterKind = RegisterKind.TD
    separators: Separators = Separators.ONE_IN_EACH
    initrd_word: InitrdWord = InitrdWord.AT_END
    kernel_header: KernelHeader = KernelHeader.PATCHED
    secure_boot: SecureBoot = SecureBoot.ABSENT
    acpi_events: int = 3
    smbios_event: bool = False

    @classmethod
    def emulated(cls, code: OvmfCode = OLDEST, qemu: tuple[int, int] = (7, 2)) -> Rules:
        """OVMF with this code and a virtual TPM, under a QEMU of this version (major, minor).

        Found by booting edk2 2022.11 under QEMU 7.2, 2025.02 under 7.2 and 10.0, and 2026.08 under 11.1, of
        Debian, and edk2 2022.02 to 2025.11 of Ubuntu under 7.2.
        """
        return cls(
            platform=RegisterKind.VTPM,
            initrd_word=InitrdWord.AT_BEGIN if code.word_first else InitrdWord.AT_END,
            kernel_header=(
                KernelHeader.RAW if code.untouched_kernel and qemu >= (10, 0) else KernelHeader.PATCHED
            ),
            secure_boot=SecureBoot.OFF if code.secure_boot else SecureBoot.ABSENT,
            acpi_events=len(ACPI_BLOBS) if code.acpi else 0,
            smbios_event=code.smbios is not None,
        )
