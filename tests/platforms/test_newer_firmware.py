"""A boot of Debian 13's firmware, which measures ACPI tables: what is predicted is what is measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labkit.platforms import BootRequest, choose_platform
from labkit.settings import Settings
from tests import bring

pytestmark = pytest.mark.vm


def test_prediction_is_measurement_with_all_that_it_measures(vm_settings: Settings) -> None:
    firmware = bring.folder(Settings.load(), bring.TRIXIE) / bring.FIRMWARE
    if not firmware.exists():
        pytest.skip("the OVMF of Debian 13 is not here: `./lab test` fetches it")
    platform = choose_platform("emulated", vm_settings)
    request = BootRequest(memory=256, firmware=firmware)
    predicted = platform.predict(request)
    assert predicted.rules.acpi_events == 4
    with platform.boot(replace(request, cold=True)) as tdvm:
        assert tdvm.measurements.rtmr == predicted.rtmrs
