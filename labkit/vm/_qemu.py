"""From a specification to QEMU's command line: pure, so that it can be shown, compared and tested."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from labkit.vm._spec import Accel, BootSpec


@dataclass(frozen=True)
class Wires:
    """The file descriptors that QEMU inherits: one end each of a socket pair.

    test: for QEMU's test protocol, in place of a guest that runs.
    """

    boot_log: int
    shell: int
    control: int
    tpm: int | None = None
    test: int | None = None

    def numbers(self) -> list[int]:
        """Every descriptor that is in use."""
        wires = (self.boot_log, self.shell, self.control, self.tpm, self.test)
        return [wire for wire in wires if wire is not None]


_CPU = {Accel.TCG: "max", Accel.KVM: "host"}


def qemu_arguments(
    spec: BootSpec, accel: Accel, wires: Wires, variables: Path, *, name: str = "", resume: bool = False
) -> list[str]:
    """What QEMU is told about one virtual machine, without the program's own path.

    ``variables`` is this machine's own copy of the firmware's variable store; a machine to ``resume``
    waits for its state on the control connection. Port ttyS0 is the boot log, ttyS1 the shell.
    """
    argv = [
        *("-name", f"labkit-{name}"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "q35", "-accel", accel.value, "-cpu", _CPU[accel]),
        *("-m", str(spec.memory), "-smp", str(spec.cpus)),
        *_socket("log", wires.boot_log),
        *("-serial", "chardev:log"),
        *_socket("shell", wires.shell),
        *("-serial", "chardev:shell"),
        *_socket("control", wires.control),
        *("-mon", "chardev=control,mode=control"),
    ]
    if spec.firmware is not None:
        argv += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={_comma(spec.firmware.code)}"]
        argv += ["-drive", f"if=pflash,unit=1,format=raw,file={_comma(variables)}"]
    if wires.tpm is not None:
        argv += [*_socket("tpm", wires.tpm), "-tpmdev", "emulator,id=tpm0,chardev=tpm"]
        argv += ["-device", "tpm-crb,tpmdev=tpm0"]
    if wires.test is not None:
        argv += ["-S", *_socket("test", wires.test), "-object", "qtest,id=qtest,chardev=test,log=/dev/null"]
    argv += ["-kernel", str(spec.kernel), "-initrd", str(spec.initrd), "-append", spec.command_line]
    return [*argv, "-incoming", "defer"] if resume else argv


def _socket(name: str, descriptor: int) -> list[str]:
    return ["-chardev", f"socket,id={name},fd={descriptor}"]


def _comma(path: Path) -> str:
    """QEMU ends an option's value at a comma; a doubled one stands for itself."""
    return str(path).replace(",", ",,")
