"""From a specification to QEMU's command line: pure, so that it can be shown, compared and tested."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.vm.spec import Accel, BootSpec, MachineConfig, Port


@dataclass(frozen=True)
class Sockets:
    """The file descriptors that QEMU inherits: one end each of a socket pair.

    memory: the file that is the guest's memory; what a guest writes to a ``private`` one is its own alone.
    test: for QEMU's test protocol, in place of a guest that runs. devices: those that labkit serves.
    """

    boot_log: int
    shell: int
    control: int
    tpm: int | None = None
    test: int | None = None
    memory: int | None = None
    private: bool = False
    devices: tuple[int, ...] = ()

    def numbers(self) -> list[int]:
        """Every descriptor that is in use."""
        wires = (self.boot_log, self.shell, self.control, self.tpm, self.test, self.memory)
        return [wire for wire in (*wires, *self.devices) if wire is not None]


# TCG carries out `rep movsb` byte by byte. A kernel that is told it was quick (ERMS, FSRM) copies and clears
# all its memory with it, where else it takes eight bytes at a time: one second of a boot of twelve.
_CPU = {Accel.TCG: "max,-erms,-fsrm", Accel.KVM: "host"}

# A second serial port for the shell, or a virtio console, which Asterinas's own QEMU command lines have too.
# Without `ioeventfd` what the guest writes is taken at once, not by another thread. One port has four queues
# and an interrupt for each.
_VIRTIO = "virtio-serial-pci,disable-legacy=on,disable-modern=off,max_ports=1,vectors=5,ioeventfd=off"
_PORTS = {
    Port.TTYS1: ("-serial", "chardev:log", "-serial", "chardev:shell"),
    Port.TTYS0: ("-serial", "chardev:shell"),
    Port.HVC0: ("-serial", "chardev:log", "-device", _VIRTIO, "-device", "virtconsole,chardev=shell"),
}


# One vector for the queue and one for the configuration: QEMU 7.2's entropy device asks for none by itself.
_SERVED = {
    "entropy": "vhost-user-rng-pci,vectors=2",
    "disk": "vhost-user-blk-pci,num-queues=1,queue-size=64,disable-legacy=on",
}


def qemu_arguments(
    spec: BootSpec, accel: Accel, wires: Sockets, variables: Path, *, name: str = "", resume: bool = False
) -> list[str]:
    """What QEMU is told about one virtual machine, without the program's own path.

    ``variables`` is this machine's own copy of the firmware's variable store; a machine to ``resume``
    waits for its state on the control connection. The boot log is on ttyS0, the shell where the board has it.
    """
    if spec.td is not None:
        return tdx_arguments(spec, wires, name=name)
    board = spec.board
    argv = [
        *_head(name),
        *_memory(spec, wires),
        *("-machine", board.machine if wires.memory is None else f"{board.machine},memory-backend=ram"),
        *("-accel", accel.value, "-cpu", board.cpu or _CPU[accel]),
        *_ports(spec, wires),
    ]
    if spec.firmware is not None:
        argv += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={_comma(spec.firmware.code)}"]
        argv += ["-drive", f"if=pflash,unit=1,format=raw,file={_comma(variables)}"]
    if wires.tpm is not None:
        argv += [*_socket("tpm", wires.tpm), "-tpmdev", "emulator,id=tpm0,chardev=tpm"]
        argv += ["-device", "tpm-crb,tpmdev=tpm0"]
    if wires.test is not None:
        argv += ["-S", *_socket("test", wires.test), "-object", "qtest,id=qtest,chardev=test,log=/dev/null"]
    argv += _devices(board)
    argv += _served_devices(spec, wires.devices)
    if board.display:
        argv += ["-vga", "std"]
    # A kernel is in the memory of a machine that is resumed: QEMU need not read it once more.
    argv += image_arguments(spec) if spec.iso is not None or not resume else []
    return [*argv, "-incoming", "defer"] if resume else argv


def tdx_arguments(spec: BootSpec, wires: Sockets, *, name: str = "") -> list[str]:
    """What QEMU (10.1 or newer, upstream) is told about one TD, without the program's own path.

    The object, machine, firmware and CPU options are those of Asterinas v0.18.1 (``tools/qemu_args.sh tdx``)
    and of QEMU's ``docs/system/i386/tdx.rst``: quotes come from a service behind vsock, the firmware is one
    TDVF file, the interrupt controller is split. Never run on TDX hardware.

    Raises:
        ValueError: the specification has no firmware, is not a TD's, or has devices, which read all memory.
    """
    if spec.td is None or spec.firmware is None or spec.devices:
        raise ValueError("a TD needs its firmware, and shares its memory with no device")
    service = {"type": "vsock", "cid": str(spec.td.quote_cid), "port": str(spec.td.quote_port)}
    domain = {
        "qom-type": "tdx-guest",
        "id": "tdx0",
        "sept-ve-disable": True,
        "quote-generation-socket": service,
    }
    return [
        *_head(name),
        *("-object", json.dumps(domain)),
        *("-machine", "q35,kernel-irqchip=split,confidential-guest-support=tdx0"),
        *("-accel", "kvm", "-cpu", "host,-kvm-steal-time,pmu=off"),
        *_ports(spec, wires),
        *("-bios", str(spec.firmware.image)),
        *_devices(spec.board),
        *image_arguments(spec),
    ]


def _head(name: str) -> list[str]:
    return [
        *("-name", f"labkit-{name}"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
    ]


def _ports(spec: BootSpec, wires: Sockets) -> list[str]:
    return [
        *("-m", str(spec.memory), "-smp", str(spec.cpus)),
        *_socket("log", wires.boot_log),
        *_socket("shell", wires.shell),
        *_PORTS[spec.board.shell],
        *_socket("control", wires.control),
        *("-mon", "chardev=control,mode=control"),
    ]


def _memory(spec: BootSpec, wires: Sockets) -> list[str]:
    """Memory in a file: only of such does QEMU know that a snapshot of the devices is enough."""
    if wires.memory is None:
        return []
    share = "off" if wires.private else "on"
    file = f"mem-path=/proc/self/fd/{wires.memory},share={share}"
    return ["-object", f"memory-backend-file,id=ram,size={spec.memory}M,{file}"]


def _devices(board: MachineConfig) -> list[str]:
    return ["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"] if board.debug_exit else []


def _served_devices(spec: BootSpec, wires: Sequence[int]) -> list[str]:
    """Devices that another process serves, by vhost-user: it maps the file that is the guest's memory."""
    argv = []
    for number, (device, wire) in enumerate(zip(spec.devices, wires, strict=True)):
        argv += _socket(f"device{number}", wire)
        argv += ["-device", f"{_SERVED[device.kind]},chardev=device{number}"]
    return argv


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
