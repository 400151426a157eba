"""Asterinas as a guest of labkit's own machines: its command line, its machine, and how its boot is followed.

From boots of v0.18.0 under TCG: CPU model, single CPU, console and memory are what worked there. The command
line is that of ``OSDK.toml``; the same is assumed of the other versions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from labkit.bootlog.asterinas import BootLogReader, BootOutcome, Goal
from labkit.bootlog.timeline import Timeline
from labkit.bootlog.watcher import CONSOLE
from labkit.vm import MachineConfig
from labkit.vm.spec import Port

KERNEL_ARGUMENTS = (
    "SHELL=/bin/sh LOGNAME=root HOME=/ USER=root PATH=/bin:/benchmark init=/init ostd.log_level=error"
)
INIT_ARGUMENTS = "sh -l"

DIRECT_MEMORY, FIRMWARE_MEMORY = 4096, 1024
"""The least memory (MiB): a direct boot panics with less, through OVMF 1 GiB is enough."""

_DETAILS = 1.0
"""Seconds for which a failure may still explain itself."""


def asterinas_machine(console: Port = Port.HVC0) -> MachineConfig:
    """The machine that the kernel wants; its own QEMU command lines have the same."""
    return MachineConfig(
        cpu="Icelake-Server,+x2apic",
        machine="q35,kernel-irqchip=split",
        shell=console,
        shell_is_console=True,
        debug_exit=True,
        display=True,
    )


def asterinas_command_line(append: str = "", console: str = "hvc0", *, firmware: bool = False) -> str:
    """The kernel's command line; of ``append``, what is behind ``--`` replaces the first process's arguments.

    Firmware appends `` initrd=initrd`` to what QEMU hands it. Behind ``sh -l`` that word names a script, and
    the shell ends; behind ``-s`` it is the shell's first parameter, which harms nobody.
    """
    kernel, _, init = f" {append} ".partition(" -- ")
    own = f"{INIT_ARGUMENTS} -s" if firmware else INIT_ARGUMENTS
    port = [] if asked_console(append) else [f"console={console}"]
    return " ".join([KERNEL_ARGUMENTS, *kernel.split(), *port, "--", init.strip() or own])


def asked_console(append: str) -> str | None:
    """The console that the user's own part of the command line names."""
    found = re.search(r"(?:^| )console=(\w+)", append.partition(" -- ")[0])
    return found[1] if found else None


@dataclass(frozen=True)
class AsterinasGuest:
    """An Asterinas with the usual initramfs: a busybox shell on the console.

    first_stage: what runs before the first word of the log: ``firmware``, or ``kernel`` in a direct boot.
    patience: stretches every deadline; the dev profile of the kernel is ten times slower than the release.
    handover: what the EFI stub says behind ExitBootServices, or the kernel first; of a Linux that stands in
    for it, its banner.
    """

    name: str = "asterinas"
    power_off: str = "poweroff -f"
    first_stage: str = "firmware"
    patience: float = 1.0
    reseeds: bool = field(default=False, init=False)
    handover: str = field(
        default=r"Processing \d+ memory|Entering (?:the )?Asterinas entry|OSTD initialized|Linux version ",
        init=False,
    )

    def watch(self) -> AsterinasWatcher:
        """Follow a boot from power-on."""
        return AsterinasWatcher(BootLogReader(Goal.PROMPT, self.first_stage, self.patience))

    def resumed(self) -> AsterinasWatcher:
        """Follow a machine that goes on where it was saved: its shell is there already."""
        return AsterinasWatcher(BootLogReader(Goal.PROMPT, "restore", self.patience))


class AsterinasWatcher:
    """The reader of a run's log, as a machine that boots asks it."""

    def __init__(self, reader: BootLogReader) -> None:
        """Ask ``reader``."""
        self.reader = reader

    @property
    def stage(self) -> str:
        """The stage that is running."""
        return self.reader.stage

    @property
    def reached(self) -> bool:
        """The shell's prompt is there."""
        return self.reader.reached

    def feed(self, stream: str, data: bytes, now: float) -> None:
        """Take more of a stream, which arrived ``now`` seconds after power-on."""
        self.reader.feed(stream, data, now)

    def begin(self, stage: str, now: float) -> None:
        """The shell is there without a prompt that says so: the machine was resumed."""
        self.reader.feed(CONSOLE, b"~ # ", now)

    def complaint(self, now: float, ended: bool, exit_code: int | None) -> tuple[str, str] | None:
        """The verdict in words once the boot cannot succeed any more, with the remedy; None while it can."""
        fatal = self.reader.fatal_at
        explained = fatal is not None and now >= fatal + _DETAILS
        if not (ended or explained or self.reader.overdue(now)):
            return None
        report = self.reader.finish(now, exit_code)
        if report.outcome is BootOutcome.BOOTED:
            return None
        if report.outcome is BootOutcome.RUNNING:
            words = f"QEMU ended in stage {report.stage}; the last line was {self.reader.last_line!r}."
            return words, "console.log and qemu.log in the run directory say more."
        return report.sentence, report.remedy

    def due(self, now: float) -> float:
        """Seconds until a deadline, or until a failure has explained itself."""
        deadline, fatal = self.reader.deadline(), self.reader.fatal_at
        times = [deadline] if deadline is not None else []
        times += [fatal + _DETAILS] if fatal is not None else []
        return min(times, default=now + 3600.0) - now

    def timeline(self, now: float) -> Timeline:
        """The stages until ``now``."""
        return self.reader.timeline(now)
