"""Boot a machine: from its snapshot where there is one, which is quicker, else from power-on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

from labkit.bootlog.timeline import Timeline
from labkit.errors import BootFailed, VmError
from labkit.toolchain.known import Known
from labkit.virtio.attached import check_devices
from labkit.vm._machine import VirtualMachine
from labkit.vm.hypervisor import Hypervisor
from labkit.vm.launch import Snapshot
from labkit.vm.memory import check_memory
from labkit.vm.qemu import Sockets, qemu_arguments
from labkit.vm.rundir import running
from labkit.vm.spec import Accel, BootSpec

_KEPT = 6
_ROOM = 400 << 20
"""How many snapshots are kept, and bytes that they may take; one of a 512 MiB guest takes about 120 MB."""

_FORMAT = 5

NOT_RESEEDED = (
    "This guest goes on with the randomness and the clock of its snapshot; --cold boots it from power-on."
)
"""What is said of a resumed guest that is not labkit's own."""


def boot(
    spec: BootSpec,
    hypervisor: Hypervisor,
    cold: bool = False,
    on_progress: Callable[[str], None] = lambda text: None,
    on_handover: Callable[[VirtualMachine], None] | None = None,
    on_launch: Callable[[], None] = lambda: None,
) -> tuple[VirtualMachine, Timeline]:
    """Boot ``spec`` until its shell answers.

    The first boot of a specification leaves a snapshot in the cache, and the next ones resume from
    it; ``cold`` neither uses nor makes one, and a machine with devices
    that labkit serves has none. Whoever calls this closes the machine.
    on_handover: see ``VirtualMachine.wait_booted``. on_launch: called when QEMU has been started, and nobody
    waits for it yet.

    Raises:
        BootFailed, CommandTimeout: the guest does not come up.
        StorageError: the run directory cannot be written.
        UsageError: a device cannot be attached.
    """
    settings = hypervisor.settings
    check_memory(spec.memory, running(settings), budget=settings.memory_budget)
    check_devices(spec.devices)
    if spec.devices and not cold:
        on_progress("QEMU saves no machine with devices that labkit serves: booting from power-on.")
    snapshots = settings.cache_dir / "snapshots"
    store = None if cold or spec.devices else SnapshotStore(snapshots, _key(spec, hypervisor))
    if store is not None and (saved := store.find(spec.memory << 20)):
        try:
            return resume(spec, hypervisor, saved, on_progress, on_launch)
        except BootFailed as error:
            # Nothing was read of it: what is in the way (too little memory, say) is not its fault.
            on_progress(f"The snapshot was not resumed ({error.message}); booting from power-on.")
        except VmError as error:
            on_progress(f"The snapshot cannot be resumed ({error.message}); booting from power-on.")
            store.forget()
    machine = VirtualMachine.start(spec, hypervisor, on_launch=on_launch)
    with contextlib.ExitStack() as undo:
        undo.enter_context(machine)
        timeline = machine.wait_ready(on_progress, on_handover)
        if spec.board.shell_is_console and not machine.console.job_control:
            on_progress("The guest's shell has no job control: a running command cannot be interrupted.")
        if store is not None:
            on_progress("saving a snapshot for the next boot")
            try:
                store.save(machine)
            except (VmError, OSError) as error:
                on_progress(f"No snapshot was made, the next boot will be from power-on too: {error}")
        undo.pop_all()
    return machine, timeline


def resume(
    spec: BootSpec,
    hypervisor: Hypervisor,
    saved: Snapshot,
    on_progress: Callable[[str], None] = lambda text: None,
    on_launch: Callable[[], None] = lambda: None,
) -> tuple[VirtualMachine, Timeline]:
    """Resume a machine of ``spec`` from what ``Machine.save`` wrote. Whoever calls this closes it.

    A guest that cannot take new randomness shares it with every other resumed from the same snapshot: that
    is said.

    Raises:
        VmError: the snapshot cannot be read, or the guest does not answer.
        StorageError: the run directory cannot be written.
    """
    machine = VirtualMachine.start(spec, hypervisor, saved, on_launch)
    with contextlib.ExitStack() as undo:
        undo.enter_context(machine)
        timeline = machine.wait_ready()
        if not spec.guest.reseeds:
            on_progress(NOT_RESEEDED)
        with contextlib.suppress(FileNotFoundError):
            (log := machine.run_dir / "snapshot-console.log").touch(mode=0o600)
            shutil.copyfile(saved.memory.with_name("console.log"), log)
        undo.pop_all()
    return machine, timeline


def _key(spec: BootSpec, hypervisor: Hypervisor) -> str:
    """Everything that went into a boot: contents of files, versions of programs, the command line."""
    toolchain, accelerator = hypervisor.toolchain, hypervisor.accelerator.kind
    known = Known(hypervisor.settings.cache_dir)
    wires = Sockets(0, 0, 0, tpm=0 if spec.tpm else None, memory=0)
    firmware = [spec.firmware.code, spec.firmware.vars] if spec.firmware else []
    parts = {
        "format": _FORMAT,
        "arguments": qemu_arguments(spec, accelerator, wires, Path()),
        "files": [known.digest(path) for path in (*firmware, spec.kernel, spec.initrd, spec.iso) if path],
        "versions": [known.version(program) for program in (toolchain.qemu, toolchain.swtpm)],
        "host": platform.processor() if accelerator is Accel.KVM else "",
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


class SnapshotStore:
    """The snapshot of one key, in a folder that appears whole or not at all."""

    def __init__(self, parent: Path, key: str, *, room: int = _ROOM) -> None:
        """The snapshot ``key`` in ``parent``; all that are there may take ``room`` bytes."""
        self._parent = parent
        self._room = room
        self._folder = parent / key

    def find(self, size: int) -> Snapshot | None:
        """The snapshot, if there is one; finding it keeps it from being forgotten soon.

        size: bytes of memory that it must have.
        """
        try:
            os.utime(self._folder)
        except OSError:
            return None
        found = _files(self._folder)
        if found.ram.exists() and found.ram.stat().st_size == size:
            return found
        self.forget()
        return None

    def save(self, machine: VirtualMachine) -> None:
        """Save a machine; where another process was quicker, its snapshot stays."""
        self._parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sweep()
        new = self._parent / f".{self._folder.name}.{os.getpid()}"
        try:
            new.mkdir()
            machine.save(_files(new))
            shutil.copyfile(machine.run_dir / "console.log", new / "console.log")
            with contextlib.suppress(OSError):
                new.rename(self._folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def forget(self) -> None:
        """Remove the snapshot."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove the snapshots used longest ago, and what killed processes left half-made."""
        folders = sorted(self._parent.iterdir(), key=lambda path: path.stat().st_mtime)
        half_made = [path for path in folders if path.name.startswith(".") and not _owner_lives(path)]
        whole = [path for path in folders if not path.name.startswith(".")]
        # Room is left for the one that is coming, as large as the others.
        sizes = {path: sum(file.stat().st_blocks * 512 for file in path.iterdir()) for path in whole}
        room = self._room * (_KEPT - 1) // _KEPT
        while whole and (len(whole) >= _KEPT or sum(sizes[path] for path in whole) > room):
            half_made.append(whole.pop(0))
        for path in half_made:
            shutil.rmtree(path, ignore_errors=True)


def _files(folder: Path) -> Snapshot:
    return Snapshot(folder / "memory", folder / "vars.fd")


def _owner_lives(half_made: Path) -> bool:
    return Path(f"/proc/{half_made.name.rpartition('.')[2]}").exists()
