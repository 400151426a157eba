"""Starts QEMU and its vTPM as members of a guarded process group, wired by socket pairs."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import BootFailed, LabkitError, StorageError
from labkit.show import one_line
from labkit.toolchain.toolchain import Program, Toolchain
from labkit.virtio import Disk
from labkit.virtio.devices import Device
from labkit.vm._guard import Guard
from labkit.vm.hypervisor import Hypervisor
from labkit.vm.qemu import Sockets, qemu_arguments
from labkit.vm.spec import BootSpec, Port
from labkit.vm.vtpm import Spawn

_VTPM_BYTES = 1 << 18
_SETUP_PATIENCE = 60.0
# What swtpm_setup says in any case.
_SETUP_IDLE = re.compile(r"(?:Starting|Ending) vTPM|TPM is listening|Successfully ")


@dataclass(frozen=True)
class Snapshot:
    """A saved machine: its state, and its copy of the firmware's variables.

    memory: QEMU's own format: the devices, and the guest's memory where there is no ``ram``.
    """

    memory: Path
    variables: Path

    @property
    def ram(self) -> Path:
        """The guest's memory, which every machine that resumes maps; not of one that was resumed itself."""
        return self.memory.with_name(f"{self.memory.name}.ram")

    @property
    def log(self) -> Path:
        """The firmware's event log, where it was read early."""
        return self.memory.with_name(f"{self.memory.name}.eventlog")

    @property
    def shell(self) -> Path:
        """What was known of the guest's shell."""
        return self.memory.with_name(f"{self.memory.name}.shell")


@dataclass(frozen=True)
class Launched:
    """A QEMU that has been started, and our ends of its wires.

    tpm_control: a second descriptor of QEMU's end of the vTPM's control connection.
    window: a file in memory that QEMU has open too, under the same number: what is read of the guest's memory
    passes through it.
    memory: the file that is the guest's whole memory, where it shares that with no other machine.
    server, devices: the process of the devices that labkit serves, and our end of it.
    console: a second descriptor of QEMU's end of a virtio console.
    """

    argv: tuple[str, ...]
    qemu: subprocess.Popen[bytes]
    swtpm: subprocess.Popen[bytes] | None
    boot_log: socket.socket
    shell: socket.socket
    control: socket.socket
    variables: Path
    window: int
    tpm_control: socket.socket | None = None
    memory: int | None = None
    server: subprocess.Popen[bytes] | None = None
    devices: socket.socket | None = None
    console: socket.socket | None = None

    def reap(self) -> None:
        """Wait for the processes to end."""
        self.qemu.wait()
        for companion in (self.swtpm, self.server):
            if companion is not None:
                companion.wait()

    def make_patient(self) -> None:
        """Have QEMU wait until its end of a virtio console takes what the guest writes.

        QEMU drops output for which there is no room, where it makes the writers to other ports wait: the
        guest's driver holds a lock meanwhile (``hw/char/virtio-console.c``, ``flush_buf``). QEMU has made its
        end non-blocking by now, and a flag of an open file is the same for all its descriptors.
        """
        if self.console is not None:
            self.console.setblocking(True)
            self.console.close()

    def close(self) -> None:
        """Close what only the machine's life needed."""
        if self.console is not None:
            self.console.close()
        if self.tpm_control is not None:
            self.tpm_control.close()
        for file in (self.window, self.memory):
            if file is not None:
                os.close(file)


def launch(
    spec: BootSpec,
    hypervisor: Hypervisor,
    run_dir: Path,
    guard: Guard,
    resume: Snapshot | None,
    *,
    test: int | None = None,
) -> Launched:
    """Start the machine's processes; their own words go to logs of their names.

    test: a descriptor for QEMU's test protocol; such a machine never runs.

    Raises:
        BootFailed: the vTPM cannot be made.
    """
    toolchain = hypervisor.toolchain
    variables = guard.work / "vars.fd"
    if spec.firmware is not None:
        shutil.copyfile(resume.variables if resume else spec.firmware.vars, variables)
    with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
        boot_log, shell, control = (_pair(ours, theirs) for _ in range(3))
        swtpm, tpm = (
            _tpm(toolchain, run_dir, guard, manufacture=resume is None and test is None)
            if spec.tpm
            else (None, None)
        )
        memory = None if spec.td or test is not None else _memory(ours, resume)
        window = os.memfd_create("labkit-window")
        ours.callback(os.close, window)
        private = resume is not None and resume.ram.exists()
        server, devices, ends = (
            _serve(spec.devices, run_dir, guard, ours, theirs) if spec.devices else (None, None, ())
        )
        wires = Sockets(
            boot_log=boot_log[1].fileno(),
            shell=shell[1].fileno(),
            control=control[1].fileno(),
            tpm=theirs.enter_context(tpm).fileno() if tpm else None,
            test=test,
            memory=memory,
            private=private,
            devices=ends,
        )
        resuming = resume is not None
        accelerator = hypervisor.accelerator.kind
        arguments = qemu_arguments(spec, accelerator, wires, variables, name=run_dir.name, resume=resuming)
        argv = toolchain.qemu.argv(*arguments)
        passed = [*wires.numbers(), window]
        qemu = _spawn(toolchain.qemu, arguments, passed, run_dir / "qemu.log", guard)
        tpm_control = tpm.dup() if tpm else None
        console = shell[1].dup() if spec.board.shell is Port.HVC0 else None
        ours.pop_all()
    if private and memory is not None:
        os.close(memory)
        memory = None
    return Launched(
        argv=argv,
        qemu=qemu,
        swtpm=swtpm,
        boot_log=boot_log[0],
        shell=shell[0],
        control=control[0],
        variables=variables,
        window=window,
        tpm_control=tpm_control,
        memory=memory,
        server=server,
        devices=devices,
        console=console,
    )


def copy_of_vtpm(toolchain: Toolchain, guard: Guard) -> Spawn:
    """How a second swtpm is started in the group of a machine's own, in the folder of its log."""
    return lambda arguments, descriptors, log: _spawn(
        toolchain.swtpm, arguments, descriptors, log, guard, log.parent
    )


def _memory(ours: contextlib.ExitStack, resume: Snapshot | None) -> int:
    """The file that a machine has as its memory: that of its snapshot, or an empty one without a name."""
    if resume is not None and resume.ram.exists():
        memory = os.open(resume.ram, os.O_RDWR | os.O_CLOEXEC)
    else:
        memory = os.memfd_create("labkit-memory")
    ours.callback(os.close, memory)
    return memory


def _pair(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    mine, other = socket.socketpair()
    return ours.enter_context(mine), theirs.enter_context(other)


def _tpm(
    toolchain: Toolchain, run_dir: Path, guard: Guard, *, manufacture: bool
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a vTPM and return QEMU's end of it; a resumed machine brings its vTPM's state along."""
    state = guard.work / "tpm"
    state.mkdir()
    if manufacture:
        _manufacture(toolchain.swtpm_setup, state, guard)
    swtpms, qemus = socket.socketpair()
    with swtpms:
        # swtpm splits its options at commas: such a path is given from where it starts.
        place = state if "," not in str(state) else state.relative_to(guard.work)
        arguments = ["socket", "--tpm2", "--terminate", "--tpmstate", f"dir={place}"]
        arguments += ["--ctrl", f"type=unixio,clientfd={swtpms.fileno()}"]
        swtpm = _spawn(
            toolchain.swtpm, arguments, [swtpms.fileno()], run_dir / "swtpm.log", guard, guard.work
        )
    return swtpm, qemus


def _serve(
    devices: Sequence[Device],
    run_dir: Path,
    guard: Guard,
    ours: contextlib.ExitStack,
    theirs: contextlib.ExitStack,
) -> tuple[subprocess.Popen[bytes], socket.socket, tuple[int, ...]]:
    """Start the process that serves the devices; our end of it, and QEMU's end of each device."""
    from labkit.virtio.process import (
        arguments,  # with all that serves devices, which most machines have none of
    )

    with contextlib.ExitStack() as its:
        owner = _pair(ours, its)
        pairs = [_pair(theirs, its) for _ in devices]
        contents = [
            _contents(device.content, its) if isinstance(device, Disk) else None for device in devices
        ]
        descriptors = [owner[1].fileno(), *(end.fileno() for _, end in pairs)]
        words = arguments(f"labkit-{run_dir.name}", descriptors[0], descriptors[1:], contents)
        # -P: a file of the user's folder is not taken for a module.
        python = Program(Path(sys.executable), ("-P", "-m", "labkit.virtio"), {})
        passed = [*descriptors, *(content for content in contents if content is not None)]
        server = _spawn(python, words, passed, run_dir / "devices.log", guard)
    return server, owner[0], tuple(end.fileno() for end, _ in pairs)


def _contents(content: bytes, its: contextlib.ExitStack) -> int:
    """A descriptor of a file in memory that holds these bytes."""
    descriptor = os.memfd_create("labkit-disk")
    its.callback(os.close, descriptor)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return descriptor


def _manufacture(setup: Program, state: Path, guard: Guard) -> None:
    """Make the state of a new vTPM.

    swtpm_setup starts a swtpm for that, which outlives it where it is killed: both are in the guarded group.
    """
    log = guard.work / "swtpm_setup.log"
    arguments = ["--tpm2", "--tpmstate", state.name, "--pcr-banks", "sha256,sha384"]
    made = _spawn(setup, arguments, [], log, guard, state.parent)
    try:
        failed = made.wait(_SETUP_PATIENCE) != 0
    except subprocess.TimeoutExpired:
        failed = True
    if failed:
        raise no_vtpm(log.read_text(errors="replace"), state)


def no_vtpm(said: str, state: Path) -> LabkitError:
    """Why swtpm_setup left no vTPM in ``state``: of a full disk and of a missing lock it does not tell."""
    if shutil.disk_usage(state).free < _VTPM_BYTES:
        return StorageError("The disk is full: a vTPM did not fit.", "Free some space, then boot again.")
    try:
        with (state / "lock-test").open("w") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        return StorageError(
            f"The file system of {state} has no locks, which a vTPM needs.",
            "Set LABKIT_STATE_DIR to a folder on a local disk of Linux.",
        )
    lines = (line.strip() for line in said.splitlines())
    telling = [line for line in lines if line and not _SETUP_IDLE.match(line)]
    return BootFailed(
        f"The vTPM could not be made; swtpm_setup says: {one_line('; '.join(telling), 200) or 'nothing'}",
        "`labkit setup --check` shows what is there.",
    )


def _spawn(
    program: Program,
    arguments: Sequence[str],
    descriptors: Sequence[int],
    log: Path,
    guard: Guard,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    log.touch(mode=0o600)
    with log.open("wb") as said:
        return subprocess.Popen(
            program.argv(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=program.environ(),
            cwd=cwd,
            pass_fds=descriptors,
            process_group=guard.group,
        )
