"""Measured boots of guests whose kernel measures nothing, through a loader that does.

The guest is a stand-in: a Linux whose EFI stub has nothing measured, like that of Asterinas, and no more.
"""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.asterinas import KernelCache
from labkit.attest import LabAuthority
from labkit.errors import MissingComponent, UsageError
from labkit.guest import cpio_archive
from labkit.guest.cpio import file as cpio_file
from labkit.measure import Prediction, predict
from labkit.platforms import BootRequest, Tdvm, TdvmPlatform, choose_platform
from labkit.platforms.attestation import attest_tdvm, emulated_policy
from labkit.platforms.evidence import Quoting
from labkit.platforms.measurements import Measurements
from labkit.settings import Settings
from labkit.toolchain.loader import find_loader
from labkit.toolchain.toolchain import Toolchain

from ..asterinas import standin

pytestmark = pytest.mark.vm

NOW = 1_760_000_000
NONCE = bytes(range(64))
# On ttyS0, since the stand-in's own kernel has no driver of a virtio console.
GUEST = BootRequest(guest="asterinas", append="console=ttyS0")
MEASURED = replace(GUEST, loader=True)


@pytest.fixture(scope="module")
def platform(
    vm_settings: Settings, toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory
) -> TdvmPlatform:
    """Platform with the stand-in in its cache."""
    own = replace(vm_settings, cache_dir=tmp_path_factory.mktemp("cache"))
    (own.cache_dir / "packages").symlink_to((vm_settings.cache_dir / "packages").resolve())
    try:
        find_loader(own)
    except MissingComponent as error:
        pytest.skip(f"the boot loader is not set up: {error.message}")
    KernelCache(own).keep(standin.silent(toolchain), "0.18.0", "a test")
    return choose_platform("emulated", own)


@pytest.fixture(scope="module")
def other_initrd(platform: TdvmPlatform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root file system of Asterinas with one file more."""
    plan = platform.plan(GUEST, platform.toolchain())
    assert plan.spec.initrd is not None
    path = tmp_path_factory.mktemp("initrd") / "other.cpio.gz"
    more = cpio_archive([cpio_file("etc/more", b"another root file system\n")])
    path.write_bytes(plan.spec.initrd.read_bytes() + gzip.compress(more, mtime=0))
    return path


OTHER_WORDS = "console=ttyS0 ä=ö a=$x;y b={z}  -- sh -l"


@pytest.fixture(scope="module")
def quoting(tmp_path_factory: pytest.TempPathFactory) -> Quoting:
    return Quoting(LabAuthority.open(tmp_path_factory.mktemp("state"), NOW), NOW)


@pytest.fixture(scope="module")
def cold(platform: TdvmPlatform) -> Measurements:
    """What the first boot of ``MEASURED`` measured; the others resume."""
    with platform.boot(MEASURED) as tdvm:
        assert tdvm.cold
        return tdvm.measurements


def first_events(tdvm: Tdvm, expected: Prediction, quoting: Quoting) -> dict[str, str]:
    """The first event of each register by which a guest is told from the one that was expected."""
    outcome = attest_tdvm(tdvm, emulated_policy(expected, NONCE), NONCE, quoting)
    assert not outcome.accepted
    reasons = outcome.to_dict()["reasons"]
    return {reason["register"]: str((reason["first_difference"] or {}).get("event")) for reason in reasons}


def test_the_honest_boot_is_measured_as_predicted(platform: TdvmPlatform, cold: Measurements) -> None:
    assert cold.told is None
    assert cold.replay_matches
    assert platform.predict(MEASURED).rtmrs == cold.rtmr


def test_a_resumed_guest_is_measured_and_accepted_too(
    platform: TdvmPlatform, cold: Measurements, quoting: Quoting
) -> None:
    with platform.boot(MEASURED) as tdvm:
        assert not tdvm.cold
        assert tdvm.measurements.raw_log == cold.raw_log
        assert "when the kernel took over" in tdvm.measurements.where
        policy = emulated_policy(platform.predict(MEASURED), NONCE)
        outcome = attest_tdvm(tdvm, policy, NONCE, quoting)
    assert outcome.accepted, str(outcome)


def test_another_command_line_and_initramfs_are_measured_as_predicted_and_rejected(
    platform: TdvmPlatform, other_initrd: Path, quoting: Quoting
) -> None:
    request = replace(MEASURED, append=OTHER_WORDS, initrd=other_initrd, cold=True)
    with platform.boot(request) as tdvm:
        assert tdvm.measurements.told is None
        assert platform.predict(request).rtmrs == tdvm.measurements.rtmr
        for other, event in (
            (MEASURED, "boot loader's configuration"),
            (replace(request, append=MEASURED.append), "boot loader's configuration"),
            (replace(request, initrd=None), "initrd, as the boot loader reads it"),
        ):
            assert first_events(tdvm, platform.predict(other), quoting) == {"RTMR2": event}


def test_prediction_for_linux_through_the_loader(platform: TdvmPlatform) -> None:
    request = BootRequest(loader=True, append="audit=0", cold=True)
    with platform.boot(request) as tdvm:
        assert tdvm.run("cat /proc/cmdline").output.startswith("BOOT_IMAGE=/boot/kernel console=ttyS0")
        assert tdvm.measurements.untruths() == []
        assert tdvm.left_out is None
        assert platform.predict(request).rtmrs == tdvm.measurements.rtmr


def test_without_the_loader_what_is_not_measured_is_said_in_one_line(platform: TdvmPlatform) -> None:
    said: list[str] = []
    with platform.boot(replace(GUEST, cold=True), said.append) as tdvm:
        assert tdvm.machine.spec.guest.name == "asterinas 0.18.0"
        (line,) = [
            line for line in said if line.startswith("Not measured: the initramfs and the command line")
        ]
        assert line in tdvm.measured
        assert tdvm.to_dict()["not_measured"] == line
        assert len(tdvm.to_dict()["rtmr"]) == 4
        assert platform.predict(GUEST).rtmrs == tdvm.measurements.rtmr


def test_another_kernel_or_loader_than_expected_is_rejected(
    platform: TdvmPlatform,
    cold: Measurements,
    quoting: Quoting,
    toolchain: Toolchain,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That the machine measures them shows in the tests above: their prediction holds what is measured."""
    path = tmp_path / "kernel"
    path.write_bytes(standin.silent(toolchain) + b"x")
    kernel = platform.predict(replace(MEASURED, kernel=path))
    with platform.boot(MEASURED) as tdvm:
        monkeypatch.setattr("labkit.vm.boot_disc._MODULES", ("tpm", "iso9660", "normal", "linux", "echo"))
        loader = platform.predict(MEASURED)
        assert first_events(tdvm, loader, quoting) == {"RTMR1": "boot loader"}
        found = first_events(tdvm, kernel, quoting)
        assert found == {"RTMR1": "kernel", "RTMR2": "kernel, as the boot loader reads it"}


def test_a_prediction_needs_no_boot(platform: TdvmPlatform) -> None:
    inputs = platform.predict(MEASURED).inputs
    assert predict(replace(inputs, command_line="other"), platform.predict(MEASURED).rules).rtmr(2)


def test_what_the_loader_cannot_boot_is_refused(platform: TdvmPlatform, tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(standin.speaker(standin.SIGN, 0x10))
    with pytest.raises(UsageError, match="bzImage with an EFI stub"):
        platform.boot(replace(MEASURED, kernel=kernel))
    with pytest.raises(UsageError, match="quotes and backslashes"):
        platform.boot(replace(MEASURED, append="a='b'"))


def test_a_guest_that_is_not_there_is_named(vm_settings: Settings) -> None:
    empty = choose_platform("emulated", vm_settings)
    with pytest.raises(
        MissingComponent, match=r"no kernel of Asterinas in the cache.*labkit asterinas fetch"
    ):
        empty.boot(GUEST)
    with pytest.raises(MissingComponent, match=r"fetch 0\.17\.0` gets it"):
        empty.boot(replace(GUEST, guest="asterinas:0.17.0"))
    with pytest.raises(UsageError, match="no guest 'plan9'"):
        empty.boot(replace(GUEST, guest="plan9"))
