"""The emulated platform on a real measured boot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labkit.errors import MissingComponent, NotAKernel, NotATdvf, UsageError
from labkit.host import verify
from labkit.platforms import BootRequest, TdvmPlatform, choose_platform
from labkit.platforms.measurements import Measurements, compare
from labkit.settings import Settings, Trust

MIB = 256
WORD = BootRequest(memory=MIB, append="one=word")


@pytest.fixture
def platform(vm_settings: Settings) -> TdvmPlatform:
    return choose_platform("emulated", vm_settings)


@pytest.fixture(scope="module")
def cold(vm_settings: Settings) -> Measurements:
    """What ``WORD`` measured from power-on, since nothing else boots it; it leaves a snapshot."""
    with choose_platform("emulated", vm_settings).boot(WORD) as tdvm:
        assert tdvm.cold
        return tdvm.measurements


@pytest.mark.vm
def test_replay_equals_the_tpm_and_only_the_command_line_moves_rtmr2(
    platform: TdvmPlatform, cold: Measurements, tmp_path: Path
) -> None:
    with platform.boot(BootRequest(memory=MIB), keep_in=tmp_path) as first:
        plain = first.measurements
    for measured in (plain, cold):
        assert measured.replay_matches
        assert set(measured.pcrs["sha256"]) == set(measured.pcrs["sha384"]) == set(range(24))
    assert compare(plain, cold).moved == ("RTMR2",)
    assert plain.rtmr[3] == bytes(48)
    assert all(any(value) for value in plain.rtmr[:3])
    kept = json.loads((tmp_path / "tdvm-01/result.json").read_text())
    assert kept["rtmr"] == [value.hex() for value in plain.rtmr]
    assert (kept["platform"], kept["trust"], kept["stamp"]) == ("emulated", "none", "EMULATED")
    assert (tmp_path / "tdvm-01/eventlog.bin").read_bytes() == plain.raw_log


@pytest.mark.vm
def test_a_warm_boot_measures_what_the_cold_one_did(platform: TdvmPlatform, cold: Measurements) -> None:
    with platform.boot(WORD) as warm:
        assert not warm.cold
        assert compare(cold, warm.measurements).moved == ()
        assert warm.measurements.replay_matches


@pytest.mark.vm
def test_a_firmware_of_the_users_own_is_booted_and_measured(platform: TdvmPlatform) -> None:
    whole = platform.toolchain().firmware.image
    with platform.boot(BootRequest(memory=MIB, firmware=whole)) as tdvm:
        assert tdvm.firmware.tdvf.sha384 == tdvm.measurements.firmware.tdvf.sha384
        assert tdvm.measurements.replay_matches


@pytest.mark.vm
def test_every_face_of_a_result_is_stamped(platform: TdvmPlatform) -> None:
    with platform.boot(BootRequest(memory=MIB)) as tdvm:
        assert tdvm.trust is Trust.NONE
        assert tdvm.headline.startswith("[EMULATED] platform emulated, trust none: it was asked for; ")
        assert "EMULATED" in tdvm._repr_html_()
        assert "EMULATED" in str(tdvm)


@pytest.mark.vm
def test_an_error_in_the_block_ends_the_machine_and_is_not_hidden(platform: TdvmPlatform) -> None:
    with pytest.raises(ZeroDivisionError), platform.boot(BootRequest(memory=MIB)) as tdvm:
        raise ZeroDivisionError
    assert not (tdvm.run_dir / "work").exists()


def test_requests_that_cannot_boot_are_refused_before_anything_starts(
    platform: TdvmPlatform, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.write_text("hello")
    with pytest.raises(UsageError, match="too little"):
        platform.boot(BootRequest(memory=64))
    with pytest.raises(UsageError, match="more than this machine has"):
        platform.boot(BootRequest(memory=1 << 30))
    with pytest.raises(UsageError, match="control characters"):
        platform.boot(BootRequest(append="a\nb"))
    with pytest.raises(UsageError, match="There is no initrd"):
        platform.boot(BootRequest(initrd=tmp_path / "none"))
    with pytest.raises(NotAKernel):
        platform.boot(BootRequest(kernel=text))
    with pytest.raises(NotATdvf):
        platform.boot(BootRequest(firmware=text))
    with pytest.raises(NotATdvf, match="cannot be read"):
        platform.boot(BootRequest(firmware=tmp_path / "none"))
    assert not list(platform.settings.state_dir.glob("tdvms/*/work"))


def test_the_platform_says_why_it_was_chosen(vm_settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("[    1.0] virt/tdx: module not loaded\n")
    not_ready = verify(root=tmp_path, kernel_log=log)
    assert "NOT_READY" in choose_platform("auto", vm_settings, not_ready).why
    log.write_text("[    1.0] virt/tdx: module initialized\n")
    ready = verify(root=tmp_path, kernel_log=log)
    assert "ask for `hardware`" in choose_platform("auto", vm_settings, ready).why
    assert choose_platform("emulated", vm_settings).why == "it was asked for"
    with pytest.raises(MissingComponent, match=r"this host is NOT_READY"):
        choose_platform("hardware", vm_settings, not_ready)
