"""Which rules of prediction a firmware and a QEMU follow: read from the firmware file and QEMU's version."""

from __future__ import annotations

from dataclasses import replace

from labkit.measure import Rules
from labkit.measure.ovmf import OvmfCode
from labkit.measure.prediction import ACPI_BLOBS, InitrdWord
from labkit.toolchain import Program

_OLD, _MODERN = (2022, 11), (2025, 2)


def rules_of(code: OvmfCode, qemu: Program) -> Rules:
    """The rules for a firmware with this code under one QEMU."""
    rules = Rules.emulated(_MODERN if code.untouched_kernel else _OLD, qemu.version)
    return replace(
        rules,
        initrd_word=InitrdWord.AT_BEGIN if code.word_first else InitrdWord.AT_END,
        acpi_events=len(ACPI_BLOBS) if code.acpi else 0,
        smbios_event=code.smbios is not None,
    )
