"""What to boot: plain data that becomes a QEMU command line."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from labkit.vm._timeline import GuestProfile
from labkit.vm._toolchain import Firmware


class Accel(StrEnum):
    """How QEMU runs the guest's instructions."""

    TCG = "tcg"
    KVM = "kvm"


@dataclass(frozen=True)
class Accelerator:
    """The accelerator that was chosen, and the reason in one clause."""

    kind: Accel
    why: str


@dataclass(frozen=True)
class BootSpec:
    """One virtual machine.

    firmware: None boots the kernel directly, without firmware and without measurement.
    memory: MiB. cpus: virtual CPUs. tpm: with a vTPM that the firmware measures into.
    """

    firmware: Firmware | None
    kernel: Path
    initrd: Path
    command_line: str
    profile: GuestProfile
    memory: int = 512
    cpus: int = 1
    tpm: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The machine as plain data."""
        return {
            "firmware": str(self.firmware.code) if self.firmware else None,
            "kernel": str(self.kernel),
            "initrd": str(self.initrd),
            "command_line": self.command_line,
            "memory": self.memory,
            "cpus": self.cpus,
            "tpm": self.tpm,
            "guest": self.profile.name,
        }
