"""A running virtual machine: started, supervised, saved, ended."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from labkit.bootlog.follow import BootLog
from labkit.bootlog.timeline import Timeline
from labkit.bootlog.watcher import BootWatcher
from labkit.console import Console
from labkit.console.stream import SocketStream
from labkit.errors import BootFailed, CommandTimeout, GuestGone, VmError
from labkit.guest.reseed import renewal
from labkit.show import clean
from labkit.virtio.attached import Attached, Wire
from labkit.vm._guard import Guard
from labkit.vm._guest_memory import GuestMemory, copy_memory, low_memory
from labkit.vm._qmp import Qmp
from labkit.vm.hypervisor import Hypervisor
from labkit.vm.launch import Launched, Snapshot, copy_of_vtpm, launch
from labkit.vm.memory import taken_by
from labkit.vm.rundir import RunDir, RunningVm, forget_old
from labkit.vm.spec import Accelerator, BootSpec
from labkit.vm.vtpm import Pcrs, Spawn, read_pcrs

_HANDSHAKE = 30.0
_RENEWAL = 5.0
_LAST_WORDS = 1 << 16
# What QEMU says where this machine, not a file, is the reason.
_SHORT = re.compile(r"llocate memory|Too many open files|mmap|No space left")
_PANIC = re.compile(rb"Kernel panic - not syncing: ([^\r\n]*)")
_MIGRATION = 120.0

# `fd:` of a file is deprecated from 9.1 and refused from 11 on (QEMU docs/about/removed-features.rst);
# `file:` takes sets of descriptors from 9.1 on.
_FILES_IN_SETS = (9, 1)


class VirtualMachine:
    """One virtual machine, from power-on or resume until ``close``.

    Use it as a context manager: QEMU, swtpm and the working files are gone afterwards, and they are
    gone as well when this process is killed.
    """

    def __init__(
        self,
        spec: BootSpec,
        accelerator: Accelerator,
        run: RunDir,
        guard: Guard,
        launched: Launched,
        watch: BootWatcher,
        output_limit: int,
        *,
        resumed: bool = False,
        copy_vtpm: Spawn | None = None,
        patience: float = 1.0,
    ) -> None:
        """Take over launched processes; ``start`` is the usual way here.

        patience: how many times as long as on a machine at rest a shell may be silent, and commands of
        labkit's own may take.
        """
        self.spec = spec
        self.accelerator = accelerator
        self.resumed = resumed
        self.run = run
        self.argv = launched.argv
        self._guard = guard
        self._launched = launched
        self.firmware_log = b""
        """The firmware's event log as it was when the kernel took over, where somebody read it then."""
        self._boot_log = BootLog(
            SocketStream(launched.boot_log, run.path / "console.log"), watch, spec.guest.handover
        )
        self._shell = SocketStream(launched.shell, run.path / "shell.log")
        self.console = Console(self._shell, output_limit, lone=spec.board.shell_is_console, patience=patience)
        self._qmp = Qmp(launched.control, self._shell)
        self._devices = Wire(launched.devices) if launched.devices is not None else None
        self._copy_vtpm = copy_vtpm
        self._closed = False
        self._shell_known = False

    @classmethod
    def start(
        cls,
        spec: BootSpec,
        hypervisor: Hypervisor,
        resume: Snapshot | None = None,
        on_launch: Callable[[], None] = lambda: None,
    ) -> VirtualMachine:
        """Start a machine from power-on, or from a snapshot. on_launch: called before QEMU is waited for.

        Raises:
            BootFailed: QEMU or swtpm does not start.
            StorageError: the run directory cannot be written.
        """
        settings, toolchain = hypervisor.settings, hypervisor.toolchain
        patient = replace(spec.guest, patience=spec.guest.patience * settings.patience)
        watch = patient.resumed() if resume else patient.watch()
        with contextlib.ExitStack() as undo:
            run = RunDir.create(settings)
            undo.callback(run.close)
            guard = Guard(run.path / "work")
            undo.callback(guard.release)
            launched = launch(spec, hypervisor, run.path, guard, resume)
            undo.pop_all()
            machine = undo.enter_context(
                cls(
                    spec,
                    hypervisor.accelerator,
                    run,
                    guard,
                    launched,
                    watch,
                    settings.output_limit,
                    resumed=resume is not None,
                    copy_vtpm=copy_of_vtpm(toolchain, guard) if spec.tpm else None,
                    patience=settings.patience,
                )
            )
            run.write_json("argv.json", launched.argv)
            run.write_json("vm.json", asdict(_describe(machine)))
            on_launch()
            # While QEMU starts.
            forget_old(settings)
            try:
                machine._qmp.greet()
            except VmError as error:
                raise BootFailed(*_why_not_started(run.path, error)) from error
            launched.make_patient()
            if resume:
                try:
                    machine._load(resume)
                except VmError as error:
                    if _SHORT.search((run.path / "qemu.log").read_text(errors="replace")):
                        raise BootFailed(*_why_not_started(run.path, error)) from error
                    raise
            undo.pop_all()
        return machine

    @property
    def run_dir(self) -> Path:
        """Where this run's logs are."""
        return self.run.path

    @property
    def devices(self) -> tuple[Attached, ...]:
        """The devices that labkit serves, in the order of the specification."""
        wire = self._devices
        if wire is None:
            return ()
        return tuple(Attached(device, number, wire) for number, device in enumerate(self.spec.devices))

    @property
    def name(self) -> str:
        """What this machine is called among others: ``tdvm-`` and the end of its run's id."""
        return f"tdvm-{self.run_dir.name.rpartition('-')[2]}"

    def take_name(self) -> None:
        """Have labkit's own guest call itself by its name; another keeps its own.

        Raises:
            GuestGone: the guest has ended.
        """
        if self.spec.guest.reseeds:
            # The shell's own words: a program that starts costs ten times as much.
            self.console.ask(f"echo {self.name} >/proc/sys/kernel/hostname", 20, bare=True)

    def memory_taken(self) -> int:
        """Bytes of memory that QEMU and the vTPM take, with their part of what other machines share."""
        processes = (self._launched.qemu, self._launched.swtpm)
        return sum(taken_by(process.pid) for process in processes if process is not None)

    def wait_booted(
        self,
        on_progress: Callable[[str], None] = lambda text: None,
        on_handover: Callable[[VirtualMachine], None] | None = None,
    ) -> None:
        """Wait for the last stage that the boot log announces.

        on_handover: called as soon as the kernel has taken over from the firmware, for guests that say so.

        Raises:
            BootFailed: the guest failed, ended, or passed a deadline.
        """
        console = self._shell if self.spec.board.shell_is_console else None
        took_over = (lambda: on_handover(self)) if on_handover and self.spec.guest.handover else None
        self._boot_log.wait(self._exit_code, on_progress, console, took_over)

    def wait_ready(
        self,
        on_progress: Callable[[str], None] = lambda text: None,
        on_handover: Callable[[VirtualMachine], None] | None = None,
    ) -> Timeline:
        """Wait until the guest's shell answers; the stages until then, each said as it begins.

        A resumed guest of labkit's own gets randomness of its own, and today's time.

        Raises:
            BootFailed: the guest failed, ended, or passed a deadline.
            CommandTimeout: the shell does not answer.
            VmError: a resumed guest did not take the seed; it would share secrets with its siblings.
        """
        self.wait_booted(on_progress, on_handover)
        if not self._shell_known:
            self.console.handshake(_HANDSHAKE)
        if self.resumed and self.spec.guest.reseeds:
            self._renew()
        elif self._shell_known or self.spec.board.shell_is_console:
            # An echoing terminal cuts lines early: the first command, a short one, finds and ends the echo.
            self.console.ask(":", _HANDSHAKE)
        # A job in the background that prints would stop the guest, clock and all, until somebody reads.
        self._shell.read_when_idle()
        return self._boot_log.timeline()

    def _renew(self) -> None:
        """Give a resumed guest what makes it one of its own, before it does anything else."""
        quick, sure = renewal(round(time.time()))
        with contextlib.suppress(CommandTimeout):
            if self.console.ask(quick, _RENEWAL, bare=True).exit_status == 0:
                return
        if self.console.ask(sure, _HANDSHAKE).exit_status != 0:
            raise VmError("The resumed guest did not take a new random seed.", "Boot it with --cold.")

    def explain(self, gone: GuestGone) -> GuestGone:
        """The same error, said by the guest's own log where that knows why."""
        complaint = self._boot_log.complaint(self._exit_code)
        log = (self.run_dir / "console.log").read_bytes()[-_LAST_WORDS:]
        if panics := _PANIC.findall(log):
            reason = clean(panics[-1].decode("utf-8", "replace")).strip()
            return GuestGone(
                f"The guest's kernel panicked: {reason}.", "console.log in the run directory has it all."
            )
        if not self.spec.board.shell_is_console:
            return gone
        if complaint:
            return GuestGone(*complaint)
        ends = "The shell is the guest's first program: with `exit` the machine ends. Boot it again."
        return GuestGone(gone.message, ends)

    def save(self, snapshot: Snapshot) -> None:
        """Write the machine's state to the files of a snapshot, and let it go on.

        Raises:
            VmError: QEMU could not write it (a full disk, for one).
        """
        self._qmp.execute("stop")
        try:
            self._store(snapshot)
            if self._launched.variables.exists():
                shutil.copyfile(self._launched.variables, snapshot.variables)
            if self.firmware_log:
                snapshot.log.write_bytes(self.firmware_log)
            snapshot.shell.write_text(self.console.state())
        finally:
            self._qmp.execute("cont")

    @contextlib.contextmanager
    def paused(self) -> Iterator[GuestMemory]:
        """The guest stands still inside the block, and its memory can be read.

        Raises:
            VmError: QEMU is gone.
        """
        self._qmp.execute("stop")
        try:
            yield GuestMemory(self._qmp, self._launched.window, low_memory(self.spec.memory << 20))
        finally:
            self._qmp.execute("cont")

    def vtpm_registers(self) -> Pcrs:
        """The PCRs of both banks as the vTPM has them; the guest is not asked. It must be ``paused``.

        Raises:
            VmError: the machine has no vTPM, or the vTPM is gone.
        """
        control = self._launched.tpm_control
        if control is None or self._copy_vtpm is None:
            raise VmError("This machine has no vTPM.", "Boot through a firmware, on the emulated platform.")
        return read_pcrs(control, self._copy_vtpm, self._guard.work)

    def power_off(self, timeout: float = 10.0) -> None:
        """Have the guest power off; QEMU is told to quit where that takes over ``timeout`` seconds.

        labkit's own guest is not asked unless it has devices: it keeps nothing but its memory, and powering
        off by itself would take as long as resuming it.
        """
        nothing_to_lose = self.spec.guest.reseeds and not self.spec.devices
        if not nothing_to_lose:
            with contextlib.suppress(OSError):
                self._shell.write(f"{self.spec.guest.power_off}\n".encode())
            self._shell.drain(timeout)
        if nothing_to_lose or not self._ended_within(timeout):
            with contextlib.suppress(VmError):
                self._qmp.execute("quit")
            self._ended_within(timeout)

    def kill(self) -> None:
        """End QEMU at once, from any thread: whoever waits for the guest sees that it is gone."""
        self._launched.qemu.kill()

    def close(self) -> None:
        """End everything that is still there; may be called twice."""
        self._guard.release()
        self._launched.reap()
        self._boot_log.join()
        self._shell.close()
        self._qmp.close()
        if self._devices is not None:
            self._devices.close()
        if not self._closed:
            # A number that was closed before may be somebody else's by now.
            self._closed = True
            self._launched.close()
        self.run.close()

    def __enter__(self) -> VirtualMachine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load(self, snapshot: Snapshot) -> None:
        self._capabilities(apart=snapshot.ram.exists())
        with snapshot.memory.open("rb") as file:
            self._qmp.execute("migrate-incoming", {"uri": self._channel(file)})
        self._wait_migrated("The snapshot could not be read.")
        if snapshot.log.exists():
            self.firmware_log = snapshot.log.read_bytes()
        with contextlib.suppress(OSError, ValueError):
            self.console.go_on(snapshot.shell.read_text())
            self._shell_known = True
        self._qmp.execute("cont")
        self._boot_log.begin("shell")

    def _store(self, snapshot: Snapshot) -> None:
        memory = self._launched.memory
        self._capabilities(apart=memory is not None)
        # The default limit of 128 MiB/s would make this four times slower (QEMU qapi/migration.json).
        self._qmp.execute("migrate-set-parameters", {"max-bandwidth": 1 << 40})
        with snapshot.memory.open("wb") as file:
            snapshot.memory.chmod(0o600)
            self._qmp.execute("migrate", {"uri": self._channel(file)})
        self._wait_migrated("The snapshot could not be written.")
        # QEMU announces the end a moment before it may go on: until then it refuses `cont`, or, worse,
        # takes it and stops again. The state after the moment is "postmigrate" (QEMU qapi/run-state.json).
        deadline = time.monotonic() + _MIGRATION
        while self._qmp.execute("query-status")["status"] != "postmigrate":
            if time.monotonic() > deadline:
                raise VmError("QEMU did not finish the snapshot.", "Is the machine overloaded?")
        if memory is None:
            snapshot.ram.unlink(missing_ok=True)
        else:
            copy_memory(memory, snapshot.ram)

    def _capabilities(self, *, apart: bool) -> None:
        """Have migrations tell how far they are. apart: memory that is in a file is not part of them."""
        wanted = {"events": True, "x-ignore-shared": apart}
        states = [{"capability": name, "state": state} for name, state in wanted.items()]
        self._qmp.execute("migrate-set-capabilities", {"capabilities": states})

    def _channel(self, file: BinaryIO) -> str:
        """An open file, handed over, as QEMU's name for it."""
        if self._qmp.version < _FILES_IN_SETS:
            self._qmp.execute("getfd", {"fdname": "snapshot"}, fd=file.fileno())
            return "fd:snapshot"
        return f"file:/dev/fdset/{self._qmp.execute('add-fd', fd=file.fileno())['fdset-id']}"

    def _wait_migrated(self, failure: str) -> None:
        while (status := self._qmp.wait_event("MIGRATION", _MIGRATION)["data"]["status"]) != "completed":
            if status == "failed":
                raise VmError(failure, "Is there space in the cache directory?")

    def _exit_code(self, seconds: float) -> int | None:
        return self._launched.qemu.returncode if self._ended_within(seconds) else None

    def _ended_within(self, seconds: float) -> bool:
        try:
            self._launched.qemu.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


# What QEMU says where a limit of this login or of this machine stops it, and what raises that.
_LIMITS = (
    ("Cannot allocate memory", "Close other programs, or raise the shell's limit: `ulimit -v unlimited`."),
    ("Resource temporarily unavailable", "Close other programs, or raise the shell's limit: `ulimit -u`."),
    ("Too many open files", "Raise the shell's limit: `ulimit -n 1024`."),
    ("File too large", "Raise the shell's limit: `ulimit -f unlimited`."),
    ("No space left on device", "Free some space."),
)


def _why_not_started(run_dir: Path, error: VmError) -> tuple[str, str]:
    said = (run_dir / "qemu.log").read_text(errors="replace").strip().splitlines()
    why = said[-1] if said else error.message
    remedy = next((remedy for words, remedy in _LIMITS if words in why), "")
    return f"QEMU did not start: {why}", f"{remedy} {run_dir}/qemu.log has all it said.".lstrip()


def _describe(machine: VirtualMachine) -> RunningVm:
    return RunningVm(
        id=machine.run_dir.name,
        owner_pid=os.getpid(),
        qemu_pid=machine._launched.qemu.pid,
        started=time.time(),
        accelerator=machine.accelerator.kind.value,
        memory=machine.spec.memory,
        run_dir=str(machine.run_dir),
    )
