"""One TDVM behind one kernel: booted early, replaced when it is gone, saved, restored, ended."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.console import CommandResult, Listener
from labkit.errors import CommandTimeout, GuestGone, UsageError
from labkit.kernel._prelude import PRELUDE, STDIN
from labkit.platforms import BootRequest, Tdvm, TdvmPlatform, choose_platform
from labkit.platforms.measurements import Measurements
from labkit.settings import Settings
from labkit.vm.launch import Snapshot

if TYPE_CHECKING:
    from labkit.platforms import Attestation

_QUERY = 0.5
"""Seconds that completion and the like may take in the guest."""

_PRELUDE_TIME = 20.0

_BOOT_LOGS = ("snapshot-console.log", "console.log")

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,39}")


@dataclass
class GuestSession:
    """The TDVM of a kernel; one thread at a time, but ``interrupt`` and ``abandon`` at any time.

    replaced: how many TDVMs have been lost so far.
    """

    settings: Settings
    replaced: int = 0
    _tdvm: Tdvm | None = None
    _platform: TdvmPlatform | None = None
    _closed: bool = False
    _chosen: threading.Event = field(default_factory=threading.Event)
    _busy: threading.RLock = field(default_factory=threading.RLock)

    def headline(self, timeout: float) -> str:
        """The platform and its trust; empty where they are not known within ``timeout`` seconds."""
        self._chosen.wait(timeout)
        return self._platform.headline if self._platform else ""

    @property
    def _request(self) -> BootRequest:
        settings = self.settings
        return BootRequest(
            guest=settings.guest,
            kernel=settings.kernel,
            initrd=settings.initrd,
            iso=settings.iso,
            profile=settings.profile,
        )

    @property
    def alive(self) -> bool:
        """There is a TDVM."""
        return self._tdvm is not None

    @property
    def run_dir(self) -> Path | None:
        """The run directory of the present TDVM."""
        return self._tdvm.run_dir if self._tdvm else None

    def tdvm(self, on_progress: Callable[[str], None] = lambda text: None) -> Tdvm:
        """The TDVM, booted where there is none.

        Raises:
            LabkitError: it cannot be booted.
        """
        with self._busy:
            if self._closed:
                raise GuestGone("The kernel is shutting down.")
            if self._tdvm is None:
                try:
                    self._platform = choose_platform("auto", self.settings)
                finally:
                    self._chosen.set()
                self._tdvm = self._prepared(
                    self._platform.boot(self._request, on_progress, self.settings.run_dir)
                )
            return self._tdvm

    def run(self, code: str, listener: Listener) -> CommandResult:
        """Run a cell.

        Raises:
            GuestGone: the guest ended, or its shell cannot be reached any more; the next call boots another.
            UsageError: the cell holds a NUL.
        """
        with self._guest() as tdvm:
            console = tdvm.machine.console
            result = console.run(code, listener=listener)
            if result.shell_ended:
                console.ask(PRELUDE, _PRELUDE_TIME, bare=True)
            return result

    def query(self, script: str) -> str:
        """What a script prints in a subshell of the guest's shell; empty where it takes too long."""
        shielded = f"(\\unset -f command printf type sh busybox grep head man; {script}\n)"
        try:
            with self._guest() as tdvm:
                answer = tdvm.machine.console.run(shielded, _QUERY, aside=True)
        except (CommandTimeout, GuestGone):
            return ""
        return answer.raw.decode("utf-8", "replace")

    def interrupt(self) -> None:
        """Send Ctrl-C to the running cell; from any thread."""
        if (tdvm := self._tdvm) is not None:
            tdvm.machine.console.interrupt()

    def abandon(self) -> None:
        """End the guest at once, in the middle of a cell; from any thread."""
        if (tdvm := self._tdvm) is not None:
            tdvm.machine.kill()

    def attest(self, nonce: bytes | None) -> tuple[Measurements, Attestation]:
        """What the TDVM measured, and evidence about ``nonce`` (or a fresh one), verified and appraised.

        Raises:
            LabkitError: the nonce is too long, or the guest does not do its part.
        """
        # Loaded here: no other cell needs it, and a kernel is to start quickly.
        from labkit.platforms import fresh_nonce

        with self._guest() as tdvm:
            assert self._platform is not None
            return tdvm.measurements, self._platform.attest(tdvm, fresh_nonce() if nonce is None else nonce)

    def save(self, name: str) -> None:
        """Save the guest's state under a name, for as long as this kernel lives.

        Raises:
            UsageError: it is not a name.
            VmError: there is no space for it.
        """
        folder = self._snapshot_folder(name)
        with self._guest() as tdvm, contextlib.ExitStack() as undo:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, mode=0o700)
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
            tdvm.machine.save(_snapshot(folder))
            logs = [path for log in _BOOT_LOGS if (path := tdvm.run_dir / log).exists()]
            shutil.copyfile(logs[0], folder / "console.log")
            undo.pop_all()

    def restore(self, name: str) -> None:
        """Go on from a saved state; what happened since is gone.

        Raises:
            UsageError: there is no state of that name.
            VmError: it cannot be resumed; the present guest goes on.
        """
        folder = self._snapshot_folder(name)
        if not folder.exists():
            raise UsageError(f"There is no snapshot {name}.", "Make one with `%snapshot NAME` first.")
        with self._busy:
            before = self.tdvm()
            assert self._platform is not None
            self._tdvm = self._prepared(self._platform.resume(before, _snapshot(folder)))
            before.abandon()

    def close(self) -> None:
        """End the guest, and forget what was saved; waits for a cell that is running."""
        with self._busy:
            self._closed = True
            tdvm, self._tdvm = self._tdvm, None
            if tdvm is not None:
                tdvm.abandon()
            shutil.rmtree(self._snapshots(), ignore_errors=True)

    @contextlib.contextmanager
    def _guest(self) -> Iterator[Tdvm]:
        """The TDVM, for one thread at a time; where it goes away meanwhile, the next use boots another."""
        with self._busy:
            try:
                yield self.tdvm()
            except GuestGone as gone:
                if self._tdvm is not None:
                    gone = self._tdvm.machine.explain(gone)
                self._drop()
                raise GuestGone(gone.message, "The next cell starts in a fresh TDVM.") from gone

    def _prepared(self, tdvm: Tdvm) -> Tdvm:
        """Tell a fresh guest's shell what the kernel needs of it."""
        with contextlib.ExitStack() as undo:
            undo.callback(tdvm.abandon)
            if tdvm.machine.spec.guest.reseeds:
                tdvm.machine.console.stdin = STDIN
            else:
                # Who knows whether another guest's /dev takes a file: without one, `read` asks nobody.
                made = tdvm.machine.console.ask(f": <>{STDIN}", _PRELUDE_TIME)
                tdvm.machine.console.stdin = STDIN if made.exit_status == 0 else "/dev/null"
            tdvm.machine.console.ask(PRELUDE, _PRELUDE_TIME, bare=True)
            if tdvm.keep_in is not None:
                tdvm.record()
            undo.pop_all()
        return tdvm

    def _drop(self) -> None:
        if self._tdvm is not None:
            self._tdvm.abandon()
            self.replaced += 1
        self._tdvm = None

    def _snapshots(self) -> Path:
        # The name says whose it is: what a killed process leaves is swept with the next snapshot.
        return self.settings.cache_dir / "snapshots" / f".kernel.{os.getpid()}"

    def _snapshot_folder(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is not a name for a snapshot.", "Use letters, digits, - and _.")
        return self._snapshots() / name


def _snapshot(folder: Path) -> Snapshot:
    return Snapshot(folder / "memory", folder / "vars.fd")
