"""From a specification to QEMU's command line: pure, so that it can be shown, compared and tested."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from labkit.vm._spec import Accel, BootSpec, Port


@dataclass(frozen=True)
class Wires:
    """The file descriptors that QEMU inherits: one end each of a socket pair."""

    boot_log: int
    shell: int
    control: int
    tpm: int | None = None

    def numbers(self) -> list[int]:
        """Every descriptor that is in use."""
        wires = (self.boot_log, self.shell, self.control, self.tpm)
        return [wire for wire in wires if wire is not None]


_CPU = {Accel.TCG: "max", Accel.KVM: "host"}

# Two serial ports; or the console of an Asterinas, as its own QEMU command lines have it.
_VIRTIO = "virtio-serial-pci,disable-legacy=on,disable-modern=off"
_PORTS = {
    Port.TTYS1: ("-serial", "chardev:log", "-serial", "chardev:shell"),
    Port.TTYS0: ("-serial", "chardev:shell"),
    Port.HVC0: ("-serial", "chardev:log", "-device", _VIRTIO, "-device", "virtconsole,chardev=shell"),
}


def qemu_arguments(
    spec: BootSpec, accel: Accel, wires: Wires, variables: Path, *, name: str = "", resume: bool = False
) -> list[str]:
    """What QEMU is told about one virtual machine, without the program's own path.

    ``variables`` is this machine's own copy of the firmware's variable store; a machine to ``resume``
    waits for its state on the control connection. The boot log is on ttyS0, the shell where the board has it.
    """
    board = spec.board
    argv = [
        *("-name", f"labkit-{name}"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", board.machine, "-accel", accel.value, "-cpu", board.cpu or _CPU[accel]),
        *("-m", str(spec.memory), "-smp", str(spec.cpus)),
        *_socket("log", wires.boot_log),
        *_socket("shell", wires.shell),
        *_PORTS[board.shell],
        *_socket("control", wires.control),
        *("-mon", "chardev=control,mode=control"),
    ]
    if spec.firmware is not None:
        argv += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={_comma(spec.firmware.code)}"]
        argv += ["-drive", f"if=pflash,unit=1,format=raw,file={_comma(variables)}"]
    if wires.tpm is not None:
        argv += [*_socket("tpm", wires.tpm), "-tpmdev", "emulator,id=tpm0,chardev=tpm"]
        argv += ["-device", "tpm-crb,tpmdev=tpm0"]
    if board.debug_exit:
        argv += ["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]
    if board.display:
        argv += ["-vga", "std"]
    argv += image_arguments(spec)
    return [*argv, "-incoming", "defer"] if resume else argv


def image_arguments(spec: BootSpec) -> list[str]:
    """The options that hand over what boots."""
    if spec.iso is not None:
        return ["-drive", f"file={_comma(spec.iso)},format=raw,index=2,media=cdrom,readonly=on"]
    initrd = ["-initrd", str(spec.initrd)] if spec.initrd else []
    return ["-kernel", str(spec.kernel), *initrd, "-append", spec.command_line]


def _socket(name: str, descriptor: int) -> list[str]:
    return ["-chardev", f"socket,id={name},fd={descriptor}"]


def _comma(path: Path) -> str:
    """QEMU ends an option's value at a comma; a doubled one stands for itself."""
    return str(path).replace(",", ",,")
