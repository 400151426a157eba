"""The emulated platform: everything real but the hardware. QEMU, OVMF, a vTPM, Linux; trust: none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.platforms._meanwhile import Meanwhile
from labkit.platforms._platform import TdvmPlatform
from labkit.platforms._tdvm import Tdvm
from labkit.platforms.request import BootRequest
from labkit.settings import Trust
from labkit.toolchain.known import file_identity
from labkit.toolchain.toolchain import Firmware, Toolchain
from labkit.vm import Hypervisor, boot, resume
from labkit.vm.accel import choose_accelerator
from labkit.vm.launch import Snapshot

if TYPE_CHECKING:
    from labkit.measure import FirmwareMeasurement, Prediction
    from labkit.vm import VirtualMachine


class EmulatedPlatform(TdvmPlatform):
    """Boots TDVMs under QEMU without TDX hardware."""

    name = "emulated"
    trust = Trust.NONE

    def boot(
        self,
        request: BootRequest,
        on_progress: Callable[[str], None] = lambda text: None,
        keep_in: Path | None = None,
    ) -> Tdvm:
        """Boot until the guest's shell answers; the record is copied below ``keep_in`` at the end.

        Raises:
            UsageError, NotAKernel, NotATdvf: the request cannot boot.
            MissingComponent: `labkit setup` has not been run.
            BootFailed, CommandTimeout: the guest does not come up.
            StorageError: the cache or state directory cannot be written.
        """
        toolchain = self.toolchain()
        planned = self.plan(request, toolchain)
        hypervisor = self._hypervisor(toolchain, on_progress)
        if planned.recognized:
            on_progress(planned.recognized)
        if planned.left_out:
            on_progress(planned.left_out)
        measured = Meanwhile(partial(_measured, planned.firmware)) if planned.firmware else None

        def while_it_starts() -> None:
            for other in (measured, self._why):
                if isinstance(other, Meanwhile):
                    other.start()

        with contextlib.ExitStack() as undo:
            machine, timeline = boot(
                planned.spec,
                hypervisor,
                request.cold,
                on_progress,
                partial(_keep_log, measured) if measured else None,
                while_it_starts,
            )
            undo.enter_context(machine)
            tdvm = Tdvm(
                machine,
                timeline,
                self.name,
                self.trust,
                self.why,
                measured() if measured else None,
                keep_in,
                recognized=planned.recognized,
                unmeasured=planned.unmeasured,
                left_out=planned.left_out,
                request=request,
            )
            undo.pop_all()
        return tdvm

    def predict(self, request: BootRequest) -> Prediction:
        """What a boot of this request must measure, from its inputs alone; no guest runs for it.

        Newer firmware measures ACPI tables: QEMU is asked for those of the same machine.

        Raises:
            UsageError, NotAKernel, NotATdvf: the request cannot boot.
            MissingComponent: `labkit setup` has not been run.
        """
        toolchain = self.toolchain()
        planned = self.plan(request, toolchain)
        # Loaded here: most boots are not predicted.
        from labkit.platforms._predicted import predict_boot

        return predict_boot(planned, toolchain, partial(self._hypervisor, toolchain))

    def resume(self, tdvm: Tdvm, snapshot: Snapshot) -> Tdvm:
        """Another TDVM, from what ``tdvm.machine.save`` wrote; ``tdvm`` itself goes on.

        Raises:
            VmError: the snapshot cannot be resumed.
            StorageError: the run directory cannot be written.
        """
        before = tdvm.machine
        hypervisor = Hypervisor(self.toolchain(), self.settings, before.accelerator)
        machine, timeline = resume(before.spec, hypervisor, snapshot)
        return tdvm.resumed(machine, timeline)

    def _hypervisor(
        self, toolchain: Toolchain, on_progress: Callable[[str], None] = lambda text: None
    ) -> Hypervisor:
        return Hypervisor(toolchain, self.settings, choose_accelerator(toolchain, self.settings, on_progress))


def _measured(firmware: Firmware) -> FirmwareMeasurement:
    return _measured_once(firmware.image, file_identity(firmware.image))


@lru_cache(maxsize=2)
def _measured_once(image: Path, identity: tuple[int, ...]) -> FirmwareMeasurement:
    """The same for each of many boots."""
    from labkit.measure import measure_firmware

    return measure_firmware(image.read_bytes(), str(image))


def _keep_log(measured: Meanwhile[FirmwareMeasurement], machine: VirtualMachine) -> None:
    from labkit.platforms.measurements import keep_log

    keep_log(machine, measured())
