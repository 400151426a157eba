"""What a boot of the emulated platform must measure, from its inputs alone; loaded where somebody asks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from labkit.errors import UsageError
from labkit.measure import BootInputs, Prediction, predict, read_tdvf
from labkit.measure.boot_options import disc_options, own_options
from labkit.measure.kernel_image import stub_measures
from labkit.measure.ovmf import read_ovmf
from labkit.measure.rules import ACPI_BLOBS, SMBIOS_TABLES, Rules
from labkit.measure.smbios import measured_tables
from labkit.platforms.request import BootPlan
from labkit.toolchain.toolchain import Toolchain
from labkit.vm import Hypervisor
from labkit.vm.fwcfg import fw_cfg_files


def predict_boot(planned: BootPlan, toolchain: Toolchain, hypervisor: Callable[[], Hypervisor]) -> Prediction:
    """The registers and events of a boot that is planned; no guest runs for it.

    hypervisor: asked for where QEMU has to say what it would hand over.

    Raises:
        UsageError: it cannot be predicted.
    """
    spec, firmware, contents = planned.spec, planned.firmware, planned.contents
    if firmware is None or contents is None:
        why = planned.unmeasured or "What an ISO's own loader measures is not predicted."
        raise UsageError(f"This boot cannot be predicted. {why}", "Leave out the image, or give a bzImage.")
    image = firmware.image.read_bytes()
    code = read_ovmf(image)
    rules = Rules.emulated(code, toolchain.qemu.version)
    names = [*ACPI_BLOBS[: rules.acpi_events], *[SMBIOS_TABLES] * rules.smbios_event]
    blobs = fw_cfg_files(spec, hypervisor(), names) if names else ()
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
