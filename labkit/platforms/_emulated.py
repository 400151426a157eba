"""The emulated platform: everything real but the hardware. QEMU, OVMF, a vTPM, Linux; trust: none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from labkit.errors import UsageError
from labkit.guest import build_initramfs
from labkit.measure import BootInputs, FirmwareMeasurement, Prediction, measure_firmware, predict, read_tdvf
from labkit.measure.boot_options import disc_options, own_options
from labkit.measure.kernel_image import stub_measures
from labkit.measure.ovmf import read_ovmf
from labkit.measure.prediction import ACPI_BLOBS, SMBIOS_TABLES
from labkit.measure.smbios import measured_tables
from labkit.platforms._platform import TdvmPlatform
from labkit.platforms._rules import rules_of
from labkit.platforms._tdvm import Tdvm
from labkit.platforms.measurements import keep_log
from labkit.platforms.request import BootRequest
from labkit.settings import Trust
from labkit.toolchain import Firmware, Toolchain
from labkit.vm import Accelerator, Snapshot, boot, resume
from labkit.vm.accel import choose_accelerator
from labkit.vm.fwcfg import fw_cfg_files


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
        accelerator = self._accelerator(toolchain, on_progress)
        if planned.recognized:
            on_progress(planned.recognized)
        if planned.left_out:
            on_progress(planned.left_out)
        measured = _measured(planned.firmware) if planned.firmware else None
        machine, timeline = boot(
            planned.spec,
            accelerator,
            toolchain,
            self.settings,
            request.cold,
            on_progress,
            keep_log(measured) if measured else None,
        )
        return Tdvm(
            machine,
            timeline,
            self.name,
            self.trust,
            self.why,
            measured,
            keep_in,
            recognized=planned.recognized,
            unmeasured=planned.unmeasured,
            left_out=planned.left_out,
            request=request,
        )

    def predict(self, request: BootRequest) -> Prediction:
        """What a boot of this request must measure, from its inputs alone; no guest runs for it.

        Newer firmware measures ACPI tables: QEMU is asked for those of the same machine.

        Raises:
            UsageError, NotAKernel, NotATdvf: the request cannot boot.
            MissingComponent: `labkit setup` has not been run.
        """
        toolchain = self.toolchain()
        planned = self.plan(request, toolchain)
        spec, firmware, contents = planned.spec, planned.firmware, planned.contents
        if firmware is None or contents is None:
            why = planned.unmeasured or "What an ISO's own loader measures is not predicted."
            raise UsageError(
                f"This boot cannot be predicted. {why}", "Leave out the image, or give a bzImage."
            )
        image = firmware.image.read_bytes()
        code = read_ovmf(image)
        rules = rules_of(code, toolchain.qemu)
        names = [*ACPI_BLOBS[: rules.acpi_events], *[SMBIOS_TABLES] * rules.smbios_event]
        blobs = fw_cfg_files(spec, toolchain, names, self._accelerator(toolchain).kind) if names else ()
        smbios = measured_tables(blobs[-1], code.smbios) if code.smbios is not None else None
        kernel = contents.kernel.read_bytes()
        inputs = BootInputs(
            firmware=read_tdvf(image),
            memory=spec.memory << 20,
            kernel=kernel,
            initrd=contents.initrd.read_bytes(),
            command_line=contents.command_line,
            boot_options=(disc_options if contents.loader else own_options)(set_up=code.set_up),
            acpi=tuple(hashlib.sha384(blob).digest() for blob in blobs[: rules.acpi_events]),
            smbios=hashlib.sha384(smbios).digest() if smbios is not None else None,
            loader=contents.loader,
            stub_measures=stub_measures(kernel),
        )
        return predict(inputs, rules)

    def _accelerator(
        self, toolchain: Toolchain, on_progress: Callable[[str], None] = lambda text: None
    ) -> Accelerator:
        own_initrd = build_initramfs(toolchain.busybox, self.settings.cache_dir / "guest", toolchain.bash)
        return choose_accelerator(toolchain, own_initrd, self.settings, on_progress)

    def resume(self, tdvm: Tdvm, snapshot: Snapshot) -> Tdvm:
        """Another TDVM, from what ``tdvm.machine.save`` wrote; ``tdvm`` itself goes on.

        Raises:
            VmError: the snapshot cannot be resumed.
            StorageError: the run directory cannot be written.
        """
        before = tdvm.machine
        toolchain = self.toolchain()
        machine, timeline = resume(before.spec, before.accelerator, toolchain, self.settings, snapshot)
        return tdvm.resumed(machine, timeline)


def _measured(firmware: Firmware) -> FirmwareMeasurement:
    return measure_firmware(firmware.image.read_bytes(), str(firmware.image))
