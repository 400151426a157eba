"""`labkit attest` as a person types it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labkit.measure.rules import KernelHeader
from labkit.platforms import BootRequest, TdvmPlatform, choose_platform
from labkit.settings import Settings
from tests.cli.test_boot import labkit
from tests.schemas import validate

MEMORY = "256"


@dataclass(frozen=True)
class Outcome:
    status: int
    document: dict[str, Any]

    @property
    def reasons(self) -> list[tuple[str, str | None]]:
        """Register and first differing event of each reason."""
        found = []
        for reason in self.document["reasons"]:
            first = reason["first_difference"]
            found.append((reason["register"], first["event"] if first else None))
        return found


@pytest.fixture(scope="module")
def attest(vm_environment: dict[str, str]) -> Callable[..., Outcome]:
    def run(*words: str | Path) -> Outcome:
        done = labkit("attest", "--json", "--memory", MEMORY, *map(str, words), env=vm_environment)
        assert done.stdout, done.stderr
        document = json.loads(done.stdout)
        validate("attest", document)
        return Outcome(done.returncode, document)

    return run


@pytest.fixture(scope="module")
def platform(vm_settings: Settings) -> TdvmPlatform:
    return choose_platform("emulated", vm_settings)


@pytest.fixture(scope="module")
def honest(attest: Callable[..., Outcome]) -> Outcome:
    return attest("--report-data", "c0ffee")


@pytest.mark.vm
def test_accepted_is_0(honest: Outcome) -> None:
    assert (honest.status, honest.reasons) == (0, [])
    document = honest.document
    assert (document["platform"], document["trust"], document["stamp"]) == ("emulated", "none", "EMULATED")
    assert (document["verdict"], document["unchecked"]) == ("ACCEPTED", [])
    assert document["quote"]["verdict"] == "VERIFIED"
    assert document["quote"]["report_data"] == "c0ffee" + "00" * 61


@pytest.mark.vm
def test_a_replayed_nonce_is_rejected_and_the_right_one_is_not(
    honest: Outcome, attest: Callable[..., Outcome]
) -> None:
    again = attest("--evidence", honest.document["run_dir"])
    assert (again.status, again.reasons) == (1, [("REPORTDATA", None)])
    assert again.document["quote"]["verdict"] == "VERIFIED"
    assert (again.document["trust"], again.document["stamp"]) == ("none", "EMULATED")
    right = attest("--evidence", honest.document["run_dir"], "--report-data", "c0ffee")
    assert (right.status, right.reasons) == (0, [])
    hardware = attest(
        "--evidence", honest.document["run_dir"], "--report-data", "c0ffee", "--platform", "hardware"
    )
    assert (hardware.status, hardware.reasons) == (1, [("trust", None)])


@pytest.mark.vm
def test_a_debug_td_is_rejected_though_no_register_moved(
    honest: Outcome, vm_environment: dict[str, str]
) -> None:
    done = labkit("attest", "--memory", MEMORY, "--debug-td", env=vm_environment)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("[EMULATED] platform emulated, trust none: ")
    assert "quote REFUSED DEBUG_TD" in done.stdout
    assert "ATTRIBUTES" in done.stdout
    assert "RTMR" not in done.stdout
    assert "MRTD" not in done.stdout


@pytest.mark.vm
def test_another_initrd_moves_rtmr2_and_its_size_rtmr1_where_qemu_writes_it_into_the_kernel(
    attest: Callable[..., Outcome], platform: TdvmPlatform, tmp_path: Path
) -> None:
    expected = platform.predict(BootRequest(memory=int(MEMORY)))
    assert expected.inputs.initrd is not None
    changed = tmp_path / "initrd"
    changed.write_bytes(expected.inputs.initrd.replace(b"hostname tdvm", b"hostname evil") + bytes(512))
    outcome = attest("--initrd", changed)
    header = [("RTMR1", "kernel")] if expected.rules.kernel_header is KernelHeader.PATCHED else []
    assert (outcome.status, outcome.reasons) == (1, [*header, ("RTMR2", "initrd")])


@pytest.mark.vm
def test_one_byte_of_the_firmware_that_nothing_reads_moves_mrtd_and_the_command_line_rtmr2(
    attest: Callable[..., Outcome], platform: TdvmPlatform, tmp_path: Path
) -> None:
    image = bytearray(platform.toolchain().firmware.image.read_bytes())
    padding = max(re.finditer(rb"\xff+", image[0x20000:]), key=lambda run: len(run[0]))
    image[0x20000 + (padding.start() + padding.end()) // 2] = 0xFE
    changed = tmp_path / "OVMF.fd"
    changed.write_bytes(image)
    # In one boot: neither moves the register of the other, nor any else.
    outcome = attest("--firmware", changed, "--append", "init=/bin/sh")
    assert (outcome.status, outcome.reasons) == (1, [("MRTD", None), ("RTMR2", "kernel command line")])
    assert "the boot that was asked for" in outcome.document["reasons"][1]["first_difference"]["why"]


@pytest.mark.vm
def test_a_policy_file_is_the_expectation(
    honest: Outcome, attest: Callable[..., Outcome], tmp_path: Path
) -> None:
    policy = tmp_path / "policy.json"
    evidence = ["--evidence", honest.document["run_dir"], "--report-data", "c0ffee", "--policy", policy]
    policy.write_text(json.dumps({"allow_lab": True, "mrtd": [honest.document["quote"]["mrtd"]]}))
    assert attest(*evidence).status == 0
    policy.write_text(json.dumps({"mrtd": [honest.document["quote"]["mrtd"]]}))
    assert attest(*evidence).reasons == [("trust", None)]
    policy.write_text(json.dumps({"allow_lab": True, "rtmr": [None, None, None, "11" * 48]}))
    assert attest(*evidence).reasons == [("RTMR3", None)]


@pytest.mark.data
def test_evidence_of_real_hardware_is_judged_without_a_prediction(
    shared_data: Path, vm_environment: dict[str, str], tmp_path: Path
) -> None:
    vectors = shared_data / "vectors/phala-b0c06f"
    (tmp_path / "quote.bin").write_bytes((vectors / "quote.bin").read_bytes())
    done = labkit("attest", "--evidence", str(tmp_path), env=vm_environment)
    assert (done.returncode, done.stdout) == (64, "")
    assert "FMSPC B0C06F000000" in done.stderr
    collateral = ["--collateral", str(vectors / "collateral.json")]
    done = labkit("attest", "--json", "--evidence", str(tmp_path), *collateral, env=vm_environment)
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    assert (document["platform"], document["trust"], document["stamp"]) == ("hardware", "none", "")
    assert "the time of this machine's clock" in done.stderr
    # Its collateral has expired since, and its nonce is not ours.
    assert [reason["register"] for reason in document["reasons"]] == ["quote", "REPORTDATA"]
    assert "MRTD" in document["unchecked"]


def test_hardware_that_is_not_here_is_honestly_refused(vm_environment: dict[str, str]) -> None:
    if Path("/dev/tdx_guest").exists():
        pytest.skip("this machine is a TD")
    done = labkit("attest", "--platform", "hardware", env=vm_environment)
    assert (done.returncode, done.stdout) == (69, "")
    assert "no configfs-tsm" in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--report-data", "xyz"], "is not hexadecimal"),
        (["--report-data", "00" * 65], "65 bytes do not fit"),
        (["--policy", "/no/such/policy"], "is not a policy"),
        (["--evidence", "/no/such/folder"], "no evidence in"),
        (["--evidence", "/", "--append", "a"], "Nothing is booted here"),
        (["--collateral", "x"], "makes its collateral itself"),
    ],
)
def test_what_makes_no_sense_is_64_and_one_sentence(
    words: list[str], sentence: str, vm_environment: dict[str, str]
) -> None:
    done = labkit("attest", *words, env=vm_environment)
    assert done.returncode == 64
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
