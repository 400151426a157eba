"""What to boot: plain data that becomes a QEMU command line."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from labkit.bootlog.watcher import Guest
from labkit.toolchain.toolchain import Firmware
from labkit.virtio.devices import Device


class Accel(StrEnum):
    """How QEMU runs the guest's instructions."""

    TCG = "tcg"
    KVM = "kvm"


@dataclass(frozen=True)
class Accelerator:
    """The accelerator that was chosen, and the reason in one clause."""

    kind: Accel
    why: str

    @property
    def brief(self) -> str:
        """What a person wants to know: fast or slow, and the reason without what some program said."""
        if self.kind is Accel.KVM:
            return "hardware virtualization (KVM)"
        return f"software emulation (TCG): {self.why.partition(' (')[0]}"


class Port(StrEnum):
    """Where the guest's shell is; the boot log is on ttyS0 in any case."""

    TTYS1 = "ttyS1"
    TTYS0 = "ttyS0"
    HVC0 = "hvc0"


@dataclass(frozen=True)
class MachineConfig:
    """What a kind of guest wants of its machine.

    cpu: QEMU's CPU model; None takes the accelerator's own. machine: QEMU's ``-machine``.
    shell: the port of the shell. shell_is_console: the boot writes to that port as well, and the shell speaks
    only after it.
    debug_exit: with the port by which a guest ends QEMU with a code of its own. display: with a VGA card.
    """

    cpu: str | None = None
    machine: str = "q35"
    shell: Port = Port.TTYS1
    debug_exit: bool = False
    display: bool = False
    shell_is_console: bool = False


@dataclass(frozen=True)
class TrustDomain:
    """What makes a machine a TD: the vsock address of the host's quote generation service.

    The host itself is cid 1 for QEMU, and 4050 the service's documented port (Asterinas v0.18.1,
    ``tools/qemu_args.sh``).
    """

    quote_cid: int = 1
    quote_port: int = 4050


@dataclass(frozen=True)
class BootSpec:
    """One virtual machine: a kernel, or the ISO image of one.

    firmware: None boots the kernel directly, without firmware and without measurement.
    guest: how its boot is followed, and how it ends. memory: MiB. cpus: virtual CPUs.
    tpm: with a vTPM that the firmware measures into.
    td: start it as a TD on TDX hardware, from the firmware's one-file image.
    devices: virtio devices that labkit serves itself. QEMU saves no such machine: it has no snapshot.
    """

    firmware: Firmware | None
    kernel: Path | None
    initrd: Path | None
    command_line: str
    guest: Guest
    memory: int
    cpus: int = 1
    tpm: bool = True
    iso: Path | None = None
    board: MachineConfig = MachineConfig()
    td: TrustDomain | None = None
    devices: tuple[Device, ...] = ()

    @property
    def image(self) -> Path:
        """The file that boots."""
        found = self.kernel or self.iso
        assert found is not None
        return found

    def to_dict(self) -> dict[str, Any]:
        """The machine as plain data."""
        return {
            "firmware": str(self.firmware.code) if self.firmware else None,
            "kernel": str(self.kernel) if self.kernel else None,
            "initrd": str(self.initrd) if self.initrd else None,
            "iso": str(self.iso) if self.iso else None,
            "command_line": self.command_line,
            "memory": self.memory,
            "cpus": self.cpus,
            "tpm": self.tpm,
            "console": self.board.shell.value,
            "guest": self.guest.name,
            "td": self.td is not None,
            "devices": [device.kind for device in self.devices],
        }
