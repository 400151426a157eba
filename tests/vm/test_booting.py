"""When a snapshot is made, used and forgotten, with a machine that is played."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from labkit.bootlog.timeline import Timeline
from labkit.errors import BootFailed, LabkitError, VmError
from labkit.guest.types import LINUX
from labkit.settings import Settings
from labkit.toolchain.toolchain import Program, Toolchain
from labkit.vm import BootSpec, Hypervisor, boot, booting
from labkit.vm.launch import Snapshot
from labkit.vm.spec import Accel, Accelerator

from ..toolchain.stubs import write_program

MEMORY = 1


@dataclass
class Played:
    """A machine that answers at once; what was asked of it is kept."""

    run_dir: Path
    spec: BootSpec
    log: list[str]
    resumed: bool
    cannot_save: bool = False
    console: Any = field(default_factory=lambda: SimpleNamespace(job_control=True))

    def __enter__(self) -> Played:
        return self

    def __exit__(self, *_: object) -> None:
        self.log.append("closed")

    def wait_ready(self, *_: object) -> Timeline:
        return Timeline(())

    def save(self, snapshot: Snapshot) -> None:
        if self.cannot_save:
            snapshot.memory.write_bytes(b"half")
            raise VmError("the disk is full")
        self.log.append("saved")
        snapshot.memory.touch()
        snapshot.ram.touch()
        os.truncate(snapshot.ram, MEMORY << 20)


class World:
    """Where machines are started, and what came of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log: list[str] = []
        self.said: list[str] = []
        self.why: LabkitError | None = None
        self.cannot_save = False
        write_program(folder / "qemu")
        write_program(folder / "swtpm")
        self.toolchain = SimpleNamespace(qemu=Program(folder / "qemu"), swtpm=Program(folder / "swtpm"))
        for name in ("kernel", "initrd"):
            (folder / name).write_text(name)
        (folder / "run").mkdir()
        (folder / "run/console.log").write_text("the boot")
        self.spec = BootSpec(None, folder / "kernel", folder / "initrd", "quiet", LINUX, memory=MEMORY)
        self.hypervisor = Hypervisor(
            cast(Toolchain, self.toolchain),
            Settings(cache_dir=folder / "cache", state_dir=folder / "state"),
            Accelerator(Accel.TCG, "it is played"),
        )

    def start(
        self,
        spec: BootSpec,
        hypervisor: Hypervisor,
        saved: Snapshot | None = None,
        on_launch: Callable[[], None] = lambda: None,
    ) -> Played:
        self.log.append("power-on" if saved is None else "resumed")
        if saved is not None and self.why is not None:
            raise self.why
        return Played(self.folder / "run", spec, self.log, saved is not None, self.cannot_save)

    def boot(self, spec: BootSpec | None = None, cold: bool = False) -> list[str]:
        """What a boot did."""
        self.log.clear()
        self.said.clear()
        boot(spec or self.spec, self.hypervisor, cold, self.said.append)
        return list(self.log)

    @property
    def snapshots(self) -> list[Path]:
        return sorted((self.folder / "cache/snapshots").glob("*"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    monkeypatch.setattr(booting, "VirtualMachine", SimpleNamespace(start=world.start))
    return world


def test_the_first_boot_leaves_what_the_second_resumes(world: World) -> None:
    assert world.boot() == ["power-on", "saved"]
    assert world.boot() == ["resumed"]
    (snapshot,) = world.snapshots
    assert (snapshot / "console.log").read_text() == "the boot"
    assert (world.folder / "run/snapshot-console.log").read_text() == "the boot"


def test_a_cold_boot_neither_uses_nor_makes_a_snapshot(world: World) -> None:
    assert world.boot(cold=True) == ["power-on"]
    assert world.snapshots == []
    world.boot()
    assert world.boot(cold=True) == ["power-on"]
    assert len(world.snapshots) == 1


@pytest.mark.parametrize("change", ["command line", "kernel", "memory", "tpm", "qemu", "swtpm"])
def test_what_went_into_a_boot_has_a_snapshot_of_its_own(world: World, change: str) -> None:
    world.boot()
    spec = world.spec
    if change == "command line":
        spec = replace(spec, command_line="verbose")
    elif change == "kernel":
        (world.folder / "kernel").write_text("another")
    elif change == "memory":
        spec = replace(spec, memory=2 * MEMORY)
    elif change == "tpm":
        spec = replace(spec, tpm=not spec.tpm)
    else:
        write_program(world.folder / "newer", "echo version 2")
        setattr(world.toolchain, change, Program(world.folder / "newer"))
    assert world.boot(spec) == ["power-on", "saved"]


def test_a_snapshot_that_cannot_be_read_is_replaced(world: World) -> None:
    world.boot()
    (world.snapshots[0] / "memory").write_bytes(b"damaged")
    world.why = VmError("it is damaged")
    assert world.boot() == ["resumed", "power-on", "saved"]
    assert (world.snapshots[0] / "memory").read_bytes() == b""
    assert any("it is damaged" in line for line in world.said)


def test_a_snapshot_that_was_not_read_stays(world: World) -> None:
    world.boot()
    (before,) = [path.stat().st_ino for path in world.snapshots]
    world.why = BootFailed("there is too little memory")
    assert world.boot()[:2] == ["resumed", "power-on"]
    assert any("too little memory" in line for line in world.said)
    assert [path.stat().st_ino for path in world.snapshots] == [before]


def test_a_machine_that_cannot_be_saved_runs_and_leaves_nothing(world: World) -> None:
    world.cannot_save = True
    assert world.boot() == ["power-on"]
    assert any("No snapshot was made" in line and "disk is full" in line for line in world.said)
    assert world.snapshots == []


def test_a_guest_that_cannot_be_renewed_is_said_to_share_its_randomness(world: World) -> None:
    foreign = replace(world.spec, guest=replace(LINUX, reseeds=False))
    world.boot(foreign)
    world.boot(foreign)
    assert booting.NOT_RESEEDED in world.said
    world.boot()
    world.boot()
    assert booting.NOT_RESEEDED not in world.said


def test_the_snapshots_used_longest_ago_go_and_what_a_killed_process_left(world: World) -> None:
    specs = [replace(world.spec, command_line=str(number)) for number in range(7)]
    cache = world.folder / "cache/snapshots"
    gone, here = cache / ".x.999999999", cache / f".x.{os.getpid()}"
    for folder in (gone, here):
        folder.mkdir(parents=True)
    for number, spec in enumerate(specs[:6]):
        world.boot(spec)
        for path in world.snapshots:
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 10 * (6 - number)))
    assert world.boot(specs[0]) == ["resumed"]
    world.boot(specs[6])
    assert (gone.exists(), here.exists()) == (False, True)
    assert len([path for path in world.snapshots if not path.name.startswith(".")]) == 6
    assert world.boot(specs[0]) == ["resumed"]
    assert world.boot(specs[1])[0] == "power-on"
