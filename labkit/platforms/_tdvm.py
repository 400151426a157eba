"""A booted TDVM, whatever it runs on: commands, measurements, and a record of what happened."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from labkit.bootlog.timeline import Timeline
from labkit.console import CommandResult
from labkit.errors import DataError, GuestGone, NothingMeasured, VmError
from labkit.platforms.told import tell_measurements
from labkit.settings import Trust
from labkit.show import columns, stamp
from labkit.show.markup import badge, join, pre, table
from labkit.virtio.attached import Attached
from labkit.vm import VirtualMachine

if TYPE_CHECKING:
    from labkit.measure import FirmwareMeasurement
    from labkit.platforms.evidence import Evidence, Quoting
    from labkit.platforms.measurements import Measurements
    from labkit.platforms.request import BootRequest

_MEASURED = "Boot labkit's own guest, or a bzImage of Linux, for measurements."
_KEPT_FILES = ("argv.json", "console.log", "eventlog.bin", "qemu.log", "result.json", "shell.log")


class Tdvm:
    """A running TDVM and what is known about it. Use it as a context manager, or call ``close``."""

    def __init__(
        self,
        machine: VirtualMachine,
        timeline: Timeline,
        platform: str,
        trust: Trust,
        why: str,
        firmware: FirmwareMeasurement | None,
        keep_in: Path | None = None,
        *,
        recognized: str = "",
        unmeasured: str | None = None,
        left_out: str | None = None,
        request: BootRequest | None = None,
    ) -> None:
        """Take over a booted machine; its record is copied below ``keep_in`` when it ends.

        recognized: what the image was taken for, and why. unmeasured: why there are no registers.
        left_out: what of the boot they do not cover.
        request: what was asked for.
        """
        self.machine = machine
        self.timeline = timeline
        self.platform = platform
        self.trust = trust
        self._chosen = why
        self.recognized = recognized
        self.unmeasured = unmeasured
        self.left_out = left_out
        self.request = request
        self._firmware = firmware
        self.commands: list[CommandResult] = []
        self.keep_in = keep_in
        self._closed = False
        self._evidence: list[str] = []

    @property
    def why(self) -> str:
        """Why this platform and this accelerator were chosen, with all that is known."""
        accelerator = self.machine.accelerator
        return f"{self._chosen}; {accelerator.kind.value} because {accelerator.why}"

    @property
    def run_dir(self) -> Path:
        """Where this run's logs are."""
        return self.machine.run_dir

    @property
    def devices(self) -> tuple[Attached, ...]:
        """The devices that labkit serves, in the order in which they were asked for."""
        return self.machine.devices

    @property
    def cold(self) -> bool:
        """Booted from power-on, not resumed from a snapshot."""
        return not self.machine.resumed

    def run(
        self, command: str, timeout: float | None = 60.0, on_output: Callable[[bytes], None] | None = None
    ) -> CommandResult:
        """Run a command in the guest's shell; see ``labkit.vm.Console.run``."""
        try:
            result = self.machine.console.run(command, timeout, on_output)
        except GuestGone as gone:
            raise self.machine.explain(gone) from gone
        self.commands.append(result)
        return result

    @property
    def firmware(self) -> FirmwareMeasurement:
        """The firmware that the machine booted.

        Raises:
            VmError: it booted without one.
        """
        if self._firmware is None:
            raise VmError(self.unmeasured or "There was no firmware.", _MEASURED)
        return self._firmware

    def resumed(self, machine: VirtualMachine, timeline: Timeline) -> Tdvm:
        """Another TDVM, which went on from a snapshot of this one."""
        return Tdvm(
            machine,
            timeline,
            self.platform,
            self.trust,
            self._chosen,
            self._firmware,
            self.keep_in,
            recognized=self.recognized,
            unmeasured=self.unmeasured,
            left_out=self.left_out,
            request=self.request,
        )

    def go_back(self, earlier: Tdvm) -> None:
        """Go on as ``earlier``, which was resumed from a snapshot of this one; the present machine ends."""
        self.machine.close()
        self.machine, self.timeline = earlier.machine, earlier.timeline
        for known in ("measurements", "_no_registers"):
            self.__dict__.pop(known, None)

    @cached_property
    def measurements(self) -> Measurements:
        """What the firmware measured into the vTPM, read from outside; what labkit's guest says is compared.

        Raises:
            VmError: the boot was not measured, or there is no event log in the guest's memory.
        """
        if self.unmeasured:
            raise VmError(self.unmeasured, _MEASURED)
        from labkit.platforms.measurements import heard, read_measurements

        measurements = read_measurements(self.machine, self.firmware)
        # A kernel whose log is read when it takes over keeps none that its guest could show.
        if self.machine.spec.guest.reseeds and not self.machine.spec.guest.handover:
            command = tell_measurements(bash=self.machine.console.is_bash)
            measurements = heard(measurements, self.machine.console.ask(command, 60).output)
        (self.run_dir / "eventlog.bin").write_bytes(measurements.raw_log)
        return measurements

    def evidence(self, nonce: bytes, by: Quoting) -> Evidence:
        """Evidence about ``nonce`` and this boot, quoted by the lab authority; kept in the run directory.

        Raises:
            UsageError: the nonce has more than 64 bytes.
            VmError: the guest does not do its part.
            NotMeasured: the vTPM's registers are not those of the boot's log.
        """
        from labkit.platforms.evidence import emulated_evidence, report_data_of

        self.measurements.check()
        report_data = report_data_of(lambda line: self.machine.console.ask(line, 60), nonce)
        evidence = emulated_evidence(self.measurements, report_data, by)
        evidence.save(self.run_dir)
        self._evidence.extend(evidence.files())
        return evidence

    def to_dict(self) -> dict[str, Any]:
        """The boot with the contract's keys."""
        return {
            "platform": self.platform,
            "trust": self.trust.value,
            "stamp": self.trust.stamp,
            "accelerator": self.machine.accelerator.kind.value,
            "why": self.why,
            "cold": self.cold,
            "machine": self.machine.spec.to_dict(),
            "stages": self.timeline.to_list(),
            "commands": [result.to_dict() for result in self.commands],
            **self._registers(),
            "recognized": self.recognized or None,
            "run_dir": str(self.run_dir),
        }

    @cached_property
    def _no_registers(self) -> str | None:
        """Why there are no registers to show; a guest that is not labkit's own may have ended by itself.

        Raises:
            VmError, DataError: labkit's own guest has lost its event log.
        """
        if self.unmeasured is not None:
            return self.unmeasured
        try:
            _ = self.measurements
        except NothingMeasured as error:
            return f"There are no registers to show. {error.message}"
        except (VmError, DataError) as error:
            if self.machine.spec.guest.reseeds:
                raise
            return f"The registers could not be read. {error.message}"
        return None

    def _registers(self) -> dict[str, Any]:
        if self._no_registers is None:
            return {**self.measurements.to_dict(), "not_measured": self.left_out}
        from labkit.measure import PageOrder

        mrtd = self._firmware.mrtd[PageOrder.SINGLE_PASS].hex() if self._firmware else None
        return {"mrtd": mrtd, "rtmr": None, "unmeasured": self._no_registers}

    @property
    def measured(self) -> str:
        """The registers as text, or why there are none."""
        if self._no_registers is None:
            return "\n".join([str(self.measurements), *([self.left_out] if self.left_out else [])])
        mrtd = self._registers()["mrtd"]
        return f"MRTD  {mrtd}\n{self._no_registers}" if mrtd else self._no_registers

    def record(self) -> None:
        """Write down what is known of the boot, as ``result.json`` of the run directory.

        Raises:
            VmError: the guest has no event log.
            MalformedEventLog: its event log does not parse.
        """
        self.machine.run.write_json("result.json", self.to_dict())

    def close(self) -> None:
        """Record the run, power the guest off, and end every process; may be called twice."""
        if self._closed:
            return
        try:
            self.record()
            self.machine.power_off()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """End every process at once: nothing more is asked of the guest; may be called twice."""
        if self._closed:
            return
        self._closed = True
        self.machine.close()
        self._copy_record()

    def __enter__(self) -> Tdvm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            # What raised may be the guest's end.
            self.abandon()

    def __repr__(self) -> str:
        return f"Tdvm({self.platform}, trust={self.trust.value}, {self.machine.accelerator.kind.value})"

    def __str__(self) -> str:
        return f"{self.headline}\n{columns(self._rows())}"

    @property
    def headline(self) -> str:
        """One line: the platform, what it may be trusted for, and why it was chosen."""
        registers = "; not measured" if self.unmeasured else ""
        because = f"{self._chosen}; {self.machine.accelerator.brief}"
        return f"{stamp(self.trust)}platform {self.platform}, trust {self.trust.value}: {because}{registers}"

    def _repr_html_(self) -> str:
        return join([badge(self.trust), pre(self.headline), table(self._rows())])

    def _rows(self) -> list[tuple[str, str]]:
        spec = self.machine.spec
        return [
            ("accelerator", self.machine.accelerator.kind.value),
            ("memory", f"{spec.memory} MiB"),
            ("kernel" if spec.kernel else "ISO", spec.image.name),
            ("command line", spec.command_line),
            ("boot", "cold" if self.cold else "warm, from a snapshot"),
        ]

    def _copy_record(self) -> None:
        if self.keep_in is None:
            return
        number = 1
        while (folder := self.keep_in / f"tdvm-{number:02}").exists():
            number += 1
        folder.mkdir(parents=True)
        for name in dict.fromkeys((*_KEPT_FILES, *self._evidence)):
            if (self.run_dir / name).exists():
                shutil.copyfile(self.run_dir / name, folder / name)
