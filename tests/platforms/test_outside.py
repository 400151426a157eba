"""The emulated platform's evidence is read from outside: a guest that lies about its boot is found out."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from labkit.attest import LabAuthority
from labkit.errors import NotMeasured, VmError
from labkit.guest import cpio_archive
from labkit.guest.cpio import directory as cpio_directory
from labkit.guest.cpio import file as cpio_file
from labkit.guest.initramfs import build_initramfs
from labkit.platforms import BootRequest, TdvmPlatform, choose_platform
from labkit.platforms.attestation import attest_tdvm, emulated_policy
from labkit.platforms.evidence import Quoting
from labkit.platforms.measurements import Measurements
from labkit.settings import Settings

pytestmark = pytest.mark.vm

NOW = 1_760_000_000
NONCE = bytes(range(64))
EXPECTED = BootRequest(memory=256)


@pytest.fixture(scope="module")
def platform(vm_settings: Settings) -> TdvmPlatform:
    return choose_platform("emulated", vm_settings)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> LabAuthority:
    return LabAuthority.open(tmp_path_factory.mktemp("state"), NOW)


@pytest.fixture(scope="module")
def honest(platform: TdvmPlatform) -> Measurements:
    with platform.boot(EXPECTED) as tdvm:
        return tdvm.measurements


def test_an_honest_guest_says_what_was_read_outside(honest: Measurements) -> None:
    assert honest.replay_matches
    assert honest.told is not None
    assert honest.told.raw_log == honest.raw_log
    assert honest.untruths() == []
    assert honest.pcrs["sha256"].keys() == set(range(24))
    assert any(honest.pcrs["sha384"][9])


def lying_initrd(platform: TdvmPlatform, honest: Measurements, folder: Path) -> Path:
    """labkit's own root file system with an init that shows an honest boot's log and registers as its own."""
    own = build_initramfs(platform.toolchain().busybox, folder).read_bytes()
    found = re.search(rb"#!/bin/sh\nexport PATH=[^\0]*?\nexec setsid[^\n]*\n", own)
    assert found is not None
    lies = b"mount --bind /good/log /sys/kernel/security/tpm0/binary_bios_measurements\n"
    lies += b"for bank in sha256 sha384; do for n in $(seq 0 23); do "
    lies += b"mount --bind /good/$bank-$n /sys/class/tpm/tpm0/pcr-$bank/$n; done; done\nexec setsid"
    init = found[0].replace(b"exec setsid", lies)
    files = [cpio_file("init", init, 0o755), cpio_directory("good"), cpio_file("good/log", honest.raw_log)]
    for bank, values in honest.pcrs.items():
        files += [cpio_file(f"good/{bank}-{n}", f"{v.hex().upper()}\n".encode()) for n, v in values.items()]
    path = folder / "lying.cpio"
    path.write_bytes(own + bytes(-len(own) % 512) + cpio_archive(files))
    return path


def test_a_guest_that_shows_another_boots_log_is_rejected_and_its_lie_is_a_finding(
    platform: TdvmPlatform, honest: Measurements, authority: LabAuthority, tmp_path: Path
) -> None:
    policy = emulated_policy(platform.predict(EXPECTED), NONCE)
    request = BootRequest(memory=256, initrd=lying_initrd(platform, honest, tmp_path), cold=True)
    with platform.boot(request) as tdvm:
        outcome = attest_tdvm(tdvm, policy, NONCE, Quoting(authority, NOW))
        measured = tdvm.measurements
    assert measured.told is not None
    assert measured.told.raw_log == honest.raw_log, "the guest did not lie as it was to"
    assert measured.told.pcrs["sha256"] == {number: honest.pcrs["sha256"][number] for number in range(16)}
    assert not outcome.accepted
    assert {"RTMR2", "guest's word"} <= set(outcome.registers)
    assert measured.replay_matches
    assert measured.rtmr[2] != honest.rtmr[2]


def extend(number: int) -> str:
    """A shell line that extends a PCR with a TPM command of its own (TPM2_PCR_Extend, SHA-256)."""
    words = (
        "80 02 00 00 00 41 00 00 01 82 00 00 00 "
        f"{number:02x} 00 00 00 09 40 00 00 09 00 00 00 00 00 00 00 00 01 00 0b " + "11 " * 32
    ).split()
    return "printf '" + "".join(f"\\x{word}" for word in words) + "' > /dev/tpm0"


def test_of_a_register_that_the_guest_extended_by_itself_no_evidence_is_made(
    platform: TdvmPlatform, authority: LabAuthority
) -> None:
    policy = emulated_policy(platform.predict(EXPECTED), NONCE)
    with platform.boot(EXPECTED) as tdvm:
        assert tdvm.run(extend(12)).exit_status == 0
        with pytest.raises(NotMeasured, match=r"sha256 PCR 12"):
            attest_tdvm(tdvm, policy, NONCE, Quoting(authority, NOW))
        assert tdvm.measurements.differences() == [("sha256", 12)]


def test_a_vtpm_that_is_gone_is_said(platform: TdvmPlatform) -> None:
    with platform.boot(EXPECTED) as tdvm:
        machine = tdvm.machine
        swtpm = machine._launched.swtpm
        assert isinstance(swtpm, subprocess.Popen)
        swtpm.kill()
        swtpm.wait()
        with machine.paused(), pytest.raises(VmError, match="vTPM"):
            machine.vtpm_registers()
        tdvm.abandon()
