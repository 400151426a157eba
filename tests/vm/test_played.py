"""A machine's life with a QEMU that is played: what is asked of it, in which order, and what it refuses."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from labkit.console import CommandResult, Console
from labkit.errors import BootFailed, CommandTimeout, GuestGone, VmError
from labkit.guest.types import LINUX, SHELL_PROMPT
from labkit.process import status_fields
from labkit.settings import Settings
from labkit.toolchain.toolchain import Program, Toolchain
from labkit.virtio import Disk
from labkit.virtio.devices import Entropy
from labkit.vm import BootSpec, Hypervisor, MachineConfig, VirtualMachine, accel
from labkit.vm.booting import SnapshotStore
from labkit.vm.fwcfg import fw_cfg_files
from labkit.vm.launch import Snapshot
from labkit.vm.rundir import running
from labkit.vm.spec import Accel, Accelerator

from ..toolchain.stubs import write_program
from . import played_qemu

OURS = "[    0.0] Linux version 6\nlabkit: init\nlabkit: shell\n"
MEMORY = 2


@dataclass
class World:
    """Where played machines are started, and what was asked of them."""

    folder: Path
    machines: list[VirtualMachine] = field(default_factory=list)
    setup: str = "echo made >tpm/tpm2-00.permall"

    def __post_init__(self) -> None:
        shutil.copyfile(played_qemu.__file__, self.folder / "qemu.py")
        # -I -S: without what is installed, it starts in a few hundredths of a second.
        qemu = Program(Path(sys.executable), ("-I", "-S", str(self.folder / "qemu.py")))
        self.settings = Settings(cache_dir=self.folder / "cache", state_dir=self.folder / "state")
        for name in ("busybox", "kernel"):
            (self.folder / name).touch()
        write_program(self.folder / "swtpm", "exec sleep 600")
        write_program(self.folder / "swtpm_setup", self.setup)
        self.toolchain = SimpleNamespace(
            qemu=qemu,
            swtpm=Program(self.folder / "swtpm"),
            swtpm_setup=Program(self.folder / "swtpm_setup"),
            busybox=self.folder / "busybox",
            kernel=self.folder / "kernel",
            bash=None,
        )
        self.hypervisor = Hypervisor(
            cast(Toolchain, self.toolchain), self.settings, Accelerator(Accel.TCG, "it is played")
        )
        self.spec = BootSpec(None, self.folder / "kernel", None, "", LINUX, memory=MEMORY, tpm=False)
        self.snapshot = Snapshot(self.folder / "memory", self.folder / "vars.fd")

    def order(self, **orders: object) -> None:
        """What the next machine is to do."""
        (self.folder / "orders.json").write_text(json.dumps(orders))
        (self.folder / "asked.jsonl").write_text("")

    def start(
        self, spec: BootSpec | None = None, resume: Snapshot | None = None, **orders: object
    ) -> VirtualMachine:
        self.order(**orders)
        machine = VirtualMachine.start(spec or self.spec, self.hypervisor, resume)
        self.machines.append(machine)
        return machine

    @property
    def asked(self) -> list[str]:
        """The names of the commands so far."""
        return [name for name, _ in self.commands]

    @property
    def commands(self) -> list[list[Any]]:
        return [json.loads(line) for line in (self.folder / "asked.jsonl").read_text().splitlines()]


@dataclass
class PlayedConsole:
    """A shell that answers at once; what was asked of it is kept."""

    statuses: list[int | None] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def handshake(self, timeout: float) -> None:
        self.asked.append("handshake")

    def ask(self, command: str, seconds: float, *, bare: bool = False) -> CommandResult:
        self.asked.append(command)
        status = self.statuses.pop(0) if self.statuses else 0
        if status is None:
            raise CommandTimeout("it does not answer")
        return CommandResult(command, exit_status=status, raw=b"", seconds=0.0)

    def state(self) -> str:
        return "a state"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    for machine in world.machines:
        machine.close()


def played(machine: VirtualMachine, *statuses: int | None) -> PlayedConsole:
    console = PlayedConsole(list(statuses))
    cast(Any, machine).console = console
    return console


def test_a_boot_is_followed_in_its_log_and_the_shell_is_found(world: World) -> None:
    machine = world.start(log=OURS)
    console = played(machine)
    said: list[str] = []
    machine.wait_booted()  # what is reached before anybody listens is not said
    timeline = machine.wait_ready(said.append)
    assert console.asked == ["handshake"]
    assert timeline.stages[-1].name == "shell"
    assert said == []
    assert world.asked == ["qmp_capabilities"]
    (listed,) = running(world.settings)
    assert (listed.id, listed.owner_pid, listed.memory) == (machine.run_dir.name, os.getpid(), MEMORY)
    machine.close()
    machine.close()
    assert running(world.settings) == []
    assert not (machine.run_dir / "work").exists()


def test_a_shell_on_the_console_is_asked_once_more_to_end_its_echo(world: World) -> None:
    board = MachineConfig(shell_is_console=True)
    machine = world.start(replace(world.spec, board=board), log=OURS)
    console = played(machine)
    machine.wait_ready()
    assert console.asked == ["handshake", ":"]


def test_a_handover_is_told_to_who_asked_for_guests_that_have_one(world: World) -> None:
    told: list[VirtualMachine] = []

    def tell(machine: VirtualMachine) -> None:
        told.append(machine)
        machine.kill()

    guest = replace(LINUX, handover="Linux version ")
    machine = world.start(replace(world.spec, guest=guest), log=OURS.replace("labkit: shell", ""))
    with pytest.raises(BootFailed, match="QEMU ended in stage init"):
        machine.wait_booted(on_handover=tell)
    assert told == [machine]


def test_a_qemu_that_ends_at_once_is_quoted_with_what_raises_the_limit(world: World) -> None:
    with pytest.raises(BootFailed, match="QEMU did not start: qemu: Too many open files") as refused:
        world.start(dies="qemu: Too many open files")
    assert refused.value.remedy.startswith("Raise the shell's limit: `ulimit -n 1024`. ")
    with pytest.raises(BootFailed, match="QEMU did not start: QEMU closed its control connection"):
        world.start(dies=0)
    assert running(world.settings) == []


@pytest.mark.parametrize("version", [(9, 0), (9, 1), (11, 0)])
def test_a_snapshot_is_written_while_the_machine_stands_and_then_it_goes_on(
    world: World, version: tuple[int, int]
) -> None:
    machine = world.start(version=version)
    played(machine)
    machine.firmware_log = b"events"
    machine.save(world.snapshot)
    handed, uri = ("getfd", "fd:snapshot") if version < (9, 1) else ("add-fd", "file:/dev/fdset/7")
    capabilities = "migrate-set-capabilities"
    assert world.asked[1:] == [
        *("stop", capabilities, "migrate-set-parameters", handed, "migrate"),
        *("query-status", "query-status", "query-status", "cont"),
    ]
    assert ["migrate", {"uri": uri}] in world.commands
    assert dict(world.commands)[capabilities]["capabilities"] == [
        {"capability": "events", "state": True},
        {"capability": "x-ignore-shared", "state": True},
    ]
    assert world.snapshot.memory.read_bytes() == b"devices"
    assert world.snapshot.log.read_bytes() == b"events"
    assert world.snapshot.shell.read_text() == "a state"
    assert world.snapshot.ram.stat().st_size == MEMORY << 20
    memory = world.snapshot.ram.read_bytes()
    assert memory.strip(b"\0") == b"written"
    assert memory.index(b"written") == played_qemu.WRITTEN_AT
    assert not world.snapshot.variables.exists()


def test_a_snapshot_that_fails_is_said_and_the_machine_goes_on(world: World) -> None:
    machine = world.start(migrates="failed")
    with pytest.raises(VmError, match="could not be written"):
        machine.save(world.snapshot)
    assert world.asked[-1] == "cont"
    refusing = world.start(refuses={"migrate-set-parameters": "not today"})
    with pytest.raises(VmError, match=r"QEMU refused migrate-set-parameters: not today\."):
        refusing.save(world.snapshot)
    assert world.asked[-1] == "cont"


def saved(world: World) -> Snapshot:
    """A snapshot of a machine that has run."""
    machine = world.start()
    played(machine)
    machine.save(world.snapshot)
    machine.close()
    return world.snapshot


def test_a_resumed_machine_has_its_memory_and_shell_and_is_renewed_before_all_else(world: World) -> None:
    snapshot = saved(world)
    snapshot.log.write_bytes(b"events")
    snapshot.shell.write_text(Console(cast(Any, None)).state())
    machine = world.start(resume=snapshot)
    assert world.asked[1:] == ["migrate-set-capabilities", "add-fd", "migrate-incoming", "cont"]
    assert {"capability": "x-ignore-shared", "state": True} in world.commands[1][1]["capabilities"]
    assert machine.firmware_log == b"events"
    console = played(machine)
    timeline = machine.wait_ready()
    (quick,) = console.asked
    assert "/etc/seed" in quick
    assert [stage.name for stage in timeline.stages] == ["restore", "shell"]


@pytest.mark.parametrize("quickly", [1, None])
def test_a_resumed_guest_that_does_not_take_its_seed_is_not_used(world: World, quickly: int | None) -> None:
    snapshot = saved(world)
    snapshot.shell.unlink()
    machine = world.start(resume=snapshot)
    console = played(machine, quickly, 0)
    machine.wait_ready()
    assert [words.partition(" ")[0] for words in console.asked] == ["handshake", "echo", "labkit-reseed"]
    played(machine, quickly, 1)
    with pytest.raises(VmError, match="did not take a new random seed"):
        machine.wait_ready()


def test_another_guest_is_not_renewed_but_its_known_shell_is_asked_once(world: World) -> None:
    snapshot = saved(world)
    snapshot.shell.write_text(Console(cast(Any, None)).state())
    machine = world.start(replace(world.spec, guest=SHELL_PROMPT), resume=snapshot)
    console = played(machine)
    machine.wait_ready()
    assert console.asked == [":"]


def test_a_snapshot_that_cannot_be_read_is_told_from_a_machine_that_is_short_of_something(
    world: World,
) -> None:
    snapshot = saved(world)
    with pytest.raises(VmError, match="could not be read") as refused:
        world.start(resume=snapshot, migrates="failed")
    assert not isinstance(refused.value, BootFailed)
    with pytest.raises(BootFailed, match="Cannot allocate memory"):
        world.start(resume=snapshot, migrates="failed", says="qemu: Cannot allocate memory")
    assert running(world.settings) == []


def test_memory_is_read_while_the_guest_stands_and_no_more_than_there_is(world: World) -> None:
    machine = world.start()
    with machine.paused() as memory:
        assert memory.read(4096, 16) == b"m" * 16
        assert memory.read(0, 8) == b"m" * 8
        assert memory.low == MEMORY << 20
        for start, size in ((-1, 1), (0, 0), (0, (64 << 20) + 1)):
            with pytest.raises(VmError, match=f"^{size} bytes of guest memory are not read in one piece"):
                memory.read(start, size)
    assert [name for name in world.asked if name != "qmp_capabilities"] == [
        *("stop", "pmemsave", "pmemsave", "cont")
    ]
    short = world.start(gives=3)
    with short.paused() as memory, pytest.raises(VmError, match="gave 3 of 4 bytes of guest memory at 0x10"):
        memory.read(16, 4)


def test_the_end_of_a_guest_is_explained_by_its_log(world: World) -> None:
    gone = GuestGone("The guest ended.", "The next cell boots another.")
    board = MachineConfig(shell_is_console=True)
    machine = world.start(log=f"{OURS}Kernel panic - not syncing: one\r\nKernel panic - not syncing: two\r\n")
    machine.kill()
    assert machine.explain(gone).message == "The guest's kernel panicked: two."
    machine = world.start(log=OURS)
    machine.kill()
    assert machine.explain(gone) is gone
    machine = world.start(replace(world.spec, board=board), log=OURS)
    machine.kill()
    said = machine.explain(gone)
    assert said.message.startswith("QEMU ended in stage shell")
    failing = replace(LINUX, failures=("(labkit: .*)",))
    machine = world.start(replace(world.spec, board=board, guest=failing), log=OURS)
    machine.kill()
    assert machine.explain(gone).message == "The guest failed in stage shell: labkit: init."


def test_a_guest_with_nothing_to_lose_is_not_asked_to_power_off(world: World) -> None:
    machine = world.start(log=OURS)
    machine.power_off(20)
    assert world.asked[-1] == "quit"
    assert machine.memory_taken() == 0
    other = world.start(replace(world.spec, guest=SHELL_PROMPT), ends_at="poweroff -f")
    other.power_off(20)
    assert "quit" not in world.asked
    assert (other.run_dir / "shell.log").read_bytes() == b"Power down"
    deaf = world.start(replace(world.spec, guest=SHELL_PROMPT))
    deaf.power_off(0.05)
    assert world.asked[-1] == "quit"


def test_a_name_is_given_to_labkits_own_guest_alone(world: World) -> None:
    machine = world.start()
    console = played(machine)
    machine.take_name()
    assert console.asked == [f"echo {machine.name} >/proc/sys/kernel/hostname"]
    assert machine.name == f"tdvm-{machine.run_dir.name.rpartition('-')[2]}"
    other = world.start(replace(world.spec, guest=SHELL_PROMPT))
    console = played(other)
    other.take_name()
    assert console.asked == []


def test_a_machine_takes_memory_and_has_neither_a_vtpm_nor_devices_of_ours(world: World) -> None:
    machine = world.start()
    assert machine.memory_taken() > 1 << 20
    assert machine.devices == ()
    with pytest.raises(VmError, match="has no vTPM"):
        machine.vtpm_registers()
    machine.close()
    assert machine.memory_taken() == 0


def test_what_a_guest_floods_is_read_while_qemu_is_waited_for(world: World) -> None:
    # More than a socket takes: QEMU answers only once that was read.
    machine = world.start(floods=1 << 20)
    machine.close()
    assert (machine.run_dir / "shell.log").stat().st_size > 1 << 19


def test_patience_is_what_every_deadline_of_a_boot_is_multiplied_by(world: World) -> None:
    world.hypervisor = replace(world.hypervisor, settings=replace(world.settings, patience=0.001))
    machine = world.start()
    with pytest.raises(BootFailed, match=r"Stage firmware did not end within 0\.09 s") as refused:
        machine.wait_booted()
    assert "LABKIT_PATIENCE" in refused.value.remedy


OWNER = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.vm.test_played import World
there = sys.argv[1]
world = World(Path(there), setup=f"sleep 1000 & echo $! >{there}/swtpm.pid; kill -KILL $PPID; wait")
world.start(replace(world.spec, tpm=True))
"""


def test_what_makes_a_vtpm_does_not_outlive_its_owner(tmp_path: Path) -> None:
    """swtpm_setup starts a swtpm of its own, which never ends by itself."""
    done = subprocess.run([sys.executable, "-c", OWNER, tmp_path], cwd=Path(__file__).parents[2], timeout=60)
    assert done.returncode == -signal.SIGKILL
    pid = int((tmp_path / "swtpm.pid").read_text())
    deadline = time.monotonic() + 30
    while (status_fields(pid) or ["Z"])[0] != "Z":
        assert time.monotonic() < deadline, "it outlives its owner"
        time.sleep(0.02)


def test_a_vtpm_is_made_for_a_boot_from_power_on_and_not_for_a_snapshot(world: World) -> None:
    spec = replace(world.spec, tpm=True)
    machine = world.start(spec)
    assert (machine.run_dir / "work/tpm/tpm2-00.permall").exists()
    assert "emulator,id=tpm0,chardev=tpm" in machine.argv
    assert machine.memory_taken() > 0
    machine.close()
    snapshot = saved(world)
    again = world.start(spec, snapshot)
    assert list((again.run_dir / "work/tpm").iterdir()) == []
    again.close()
    write_program(world.folder / "swtpm_setup", "echo it will not; exit 1")
    with pytest.raises(BootFailed, match="swtpm_setup says: it will not"):
        world.start(spec)


def test_devices_of_ours_are_served_by_a_process_that_ends_with_the_machine(world: World) -> None:
    machine = world.start(replace(world.spec, devices=(Entropy(), Disk(content=b"x" * 512))))
    assert [device.record().exchanges for device in machine.devices] == [(), ()]
    assert sum("vhost-user-" in word for word in machine.argv) == 2
    machine.close()
    with pytest.raises(VmError):
        machine.devices[0].record()


def test_a_guest_that_boots_under_kvm_makes_it_the_accelerator(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(log: str) -> tuple[Accel, str, list[str]]:
        world.order(log=log)
        said: list[str] = []
        chosen = accel.choose_accelerator(cast(Toolchain, world.toolchain), world.settings, said.append)
        return chosen.kind, chosen.why, said

    monkeypatch.setattr(accel, "_KVM", tmp_path / "kvm")
    assert choose(OURS) == (Accel.TCG, "there is no /dev/kvm on this machine", [])
    (tmp_path / "kvm").touch()
    assert choose("Kernel panic - not syncing: no\n")[:2] == (
        Accel.TCG,
        "KVM did not work here (The guest failed in stage kernel: no.)",
    )
    # What was found out is kept.
    assert choose(OURS) == (Accel.TCG, "KVM did not work here (The guest failed in stage kernel: no.)", [])
    (world.settings.cache_dir / "accelerator.json").write_text("{}")
    kind, why, said = choose(OURS)
    assert (kind, why) == (Accel.KVM, "a guest has booted under it")
    assert said == ["Trying a guest under KVM, for 6 s at most."]
    assert choose("") == (Accel.KVM, "a guest has booted under it", [])


def test_a_qemu_that_is_gone_is_said_in_one_sentence(world: World) -> None:
    machine = world.start()
    machine.kill()
    with pytest.raises(VmError, match="QEMU closed its control connection"):
        machine.save(world.snapshot)


def test_a_snapshot_store_has_room_for_its_limit(world: World) -> None:
    machine = world.start()
    played(machine)
    kept = world.settings.cache_dir / "snapshots"
    machine.save(world.snapshot)
    one = sum(path.stat().st_blocks * 512 for path in world.folder.glob("memory*"))
    for number in range(5):
        SnapshotStore(kept, str(number), room=4 * one).save(machine)
        os.utime(kept / str(number), (number, number))
    assert sorted(path.name for path in kept.iterdir()) == ["1", "2", "3", "4"]
    SnapshotStore(kept, "5", room=100 * one).save(machine)
    assert sorted(path.name for path in kept.iterdir()) == ["1", "2", "3", "4", "5"]


def test_what_the_firmwares_device_refuses_or_cannot_have_is_named(world: World) -> None:
    world.order()
    with pytest.raises(VmError, match=r"QEMU's fw_cfg device refused item 0x19\."):
        fw_cfg_files(world.spec, world.hypervisor, ("etc/acpi/rsdp",))
    # The number of files in its directory, of which each takes 64 bytes.
    world.order(test="OK 0x0", data=base64.b64encode(b"\xff" * 4).decode())
    with pytest.raises(VmError, match=r"QEMU offers a file of \d+ bytes, far too many"):
        fw_cfg_files(world.spec, world.hypervisor, ("etc/acpi/rsdp",))
    world.order(test="ERR")
    with pytest.raises(VmError, match="QEMU's test interface refused outl"):
        fw_cfg_files(world.spec, world.hypervisor, ("etc/acpi/rsdp",))
