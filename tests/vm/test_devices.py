"""A real guest with devices that labkit serves: honest first, then one lie each; and how it all ends."""

from __future__ import annotations

import base64
import os
import select
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.errors import VmError
from labkit.guest.drivers import driver_archive
from labkit.guest.initramfs import COMMAND_LINE, build_initramfs
from labkit.guest.types import LINUX
from labkit.settings import Settings
from labkit.toolchain.toolchain import Toolchain
from labkit.virtio import Disk
from labkit.virtio.devices import Entropy
from labkit.virtio.lies import FORGED
from labkit.vm import BootSpec, Hypervisor, VirtualMachine, boot
from labkit.vm.launch import Snapshot

from .conftest import TCG
from .test_machine import processes_of

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def machine(
    toolchain: Toolchain, vm_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VirtualMachine]:
    """labkit's own guest without firmware, which takes half the time; one machine for the whole file."""
    if toolchain.modules is None:
        pytest.skip("the package of the guest's kernel has no modules")
    own = build_initramfs(toolchain.busybox, vm_settings.cache_dir / "guest", toolchain.bash)
    initrd = tmp_path_factory.mktemp("guest") / "initramfs"
    drivers = driver_archive(toolchain.modules, ["virtio-rng", "virtio_blk"])
    initrd.write_bytes(own.read_bytes() + drivers)
    spec = BootSpec(
        None,
        toolchain.kernel,
        initrd,
        # SeaBIOS faults where the kernel's start asks it for the disks.
        f"{COMMAND_LINE} edd=off",
        replace(LINUX, first_stage="loader"),
        memory=256,
        tpm=False,
        devices=(Entropy(), Disk()),
    )
    found, _ = boot(spec, Hypervisor(toolchain, vm_settings, TCG))
    with found:
        assert not found.resumed
        assert found.console.run("modprobe virtio-rng && modprobe virtio_blk", 60).exit_status == 0
        yield found


def read(machine: VirtualMachine, command: str) -> bytes:
    return base64.b64decode(machine.console.run(f"{command} 2>/dev/null | base64", 60).output)


SECTOR = "dd if=/dev/vda iflag=direct bs=4096 count=1 skip={0}"


def test_an_honest_device_and_one_lie_about_a_length(machine: VirtualMachine) -> None:
    entropy = machine.devices[0]
    drawn = read(machine, "dd if=/dev/hwrng bs=64 count=4")
    assert len(drawn) == 256
    assert drawn[:64] in entropy.record().served
    entropy.lie("length", 65536)
    drawn = read(machine, "dd if=/dev/hwrng bs=64 count=20")
    record = entropy.record()
    assert [exchange.told for exchange in record.lies] == ["id 0, length 65536"]
    # This kernel has the mend: every byte is the device's.
    assert all(drawn[at : at + 64] in record.served for at in range(0, len(drawn), 64))


def test_an_honest_disk_and_one_false_read(machine: VirtualMachine) -> None:
    disk = machine.devices[1]
    content = Disk().content[20 * 4096 : 21 * 4096]
    assert read(machine, SECTOR.format(20)) == content
    disk.lie("false-data")
    assert read(machine, SECTOR.format(20)) == FORGED + content[len(FORGED) :]
    assert read(machine, SECTOR.format(20)) == content
    written = machine.console.run("echo written | dd of=/dev/vda seek=50 conv=fsync 2>&1", 60)
    assert written.exit_status == 0
    assert read(machine, "dd if=/dev/vda iflag=direct bs=512 count=1 skip=50").startswith(b"written\n")
    assert [exchange.lie for exchange in disk.record().lies] == ["false-data"]
    disk.lie("status")
    assert machine.console.run(SECTOR.format(30), 60).exit_status == 1


def test_a_machine_with_such_devices_is_not_saved(machine: VirtualMachine, tmp_path: Path) -> None:
    with pytest.raises(VmError):
        machine.save(Snapshot(tmp_path / "memory", tmp_path / "vars.fd"))
    assert machine.console.run("echo on", 60).output == "on\n"


def test_the_devices_end_with_the_machine_and_the_machine_survives_their_end(
    machine: VirtualMachine,
) -> None:
    pids = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"labkit.virtio" in (words := path.read_bytes()) and machine.run_dir.name.encode() in words
    ]
    assert len(pids) == 1
    assert "sh" in processes_of(machine.run_dir)
    ended = os.pidfd_open(pids[0])
    os.kill(pids[0], signal.SIGKILL)
    assert select.select([ended], [], [], 30)[0]
    os.close(ended)
    with pytest.raises(VmError, match="is gone"):
        machine.devices[0].record()
    assert machine.console.run("echo on", 60).output == "on\n"
    machine.close()
    assert processes_of(machine.run_dir) == []
    # The fixture closes it once more, which does nothing.
