"""`labkit attest` as a person types it."""

from __future__ import annotations

import json

import pytest

from tests.cli.test_boot import labkit


@pytest.mark.vm
def test_accepted_is_0_and_rejected_is_1(vm_environment: dict[str, str]) -> None:
    done = labkit("attest", "--json", "--report-data", "c0ffee", env=vm_environment)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["platform"], document["trust"], document["stamp"]) == ("emulated", "none", "EMULATED")
    assert (document["verdict"], document["reasons"]) == ("ACCEPTED", [])
    assert document["unchecked"] == []
    assert document["quote"]["verdict"] == "VERIFIED"
    assert document["quote"]["report_data"] == "c0ffee" + "00" * 61
    broken = labkit("attest", "--debug-td", env=vm_environment)
    assert broken.returncode == 1, broken.stderr
    assert broken.stdout.startswith("[EMULATED] platform emulated, trust none: ")
    assert "REJECTED" in broken.stdout
    assert "DEBUG" in broken.stdout


@pytest.mark.vm
def test_a_changed_command_line_names_register_and_event(vm_environment: dict[str, str]) -> None:
    done = labkit("attest", "--json", "--append", "quiet", env=vm_environment)
    assert done.returncode == 1, done.stderr
    (reason,) = json.loads(done.stdout)["reasons"]
    assert reason["register"] == "RTMR2"
    assert reason["first_difference"]["event"] == "kernel command line"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--report-data", "xyz"], "is not hexadecimal"),
        (["--report-data", "00" * 65], "65 bytes do not fit"),
        (["--policy", "/no/such/policy"], "is no policy"),
    ],
)
def test_what_makes_no_sense_is_64_and_one_sentence(
    words: list[str], sentence: str, vm_environment: dict[str, str]
) -> None:
    done = labkit("attest", *words, env=vm_environment)
    assert done.returncode == 64
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
