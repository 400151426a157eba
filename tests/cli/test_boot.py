"""`labkit boot`, `ps` and `stop` as a person types them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labkit.cli.running import kind_of
from tests.schemas import validate


def labkit(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labkit", *words], capture_output=True, text=True, env=env, timeout=180
    )


@pytest.mark.vm
def test_commands_run_in_the_guest_and_the_last_status_is_ours(vm_environment: dict[str, str]) -> None:
    done = labkit("boot", "--json", "--exec", "uname -a", "--exec", "exit 7", env=vm_environment)
    assert done.returncode == 7, done.stderr
    document = json.loads(done.stdout)
    validate("boot", document)
    assert [command["exit_status"] for command in document["commands"]] == [0, 7]
    assert document["commands"][0]["stdout"].startswith("Linux tdvm ")
    assert (document["platform"], document["trust"], document["stamp"]) == ("emulated", "none", "EMULATED")
    assert document["accelerator"] in ("tcg", "kvm")
    assert document["why"]
    assert len(document["mrtd"]) == 96
    assert [len(value) for value in document["rtmr"]] == [96] * 4
    assert document["replay_matches_tpm"] is True
    again = labkit("boot", "--json", env=vm_environment)
    assert again.returncode == 0
    assert json.loads(again.stdout)["cold"] is False
    assert [stage["name"] for stage in json.loads(again.stdout)["stages"]] == ["restore", "shell"]
    listed = labkit("ps", "--json", env=vm_environment)
    validate("ps", json.loads(listed.stdout))
    assert json.loads(listed.stdout) == []


@pytest.mark.vm
def test_the_first_line_names_platform_trust_and_reason(vm_environment: dict[str, str]) -> None:
    done = labkit("boot", "--platform", "emulated", "--exec", "echo '<b>hi</b>'", env=vm_environment)
    assert done.returncode == 0
    first, *rest = done.stdout.splitlines()
    assert first.startswith("[EMULATED] platform emulated, trust none: it was asked for")
    assert "$ echo '<b>hi</b>'" in rest
    assert "<b>hi</b>" in rest


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["--memory", "32"], 64, "32 MiB of memory is too little"),
        (["--memory", "much"], 64, "not a valid whole number"),
        (["--kernel", "/etc/hostname"], 65, "is not a kernel"),
        (["--firmware", "/etc/hostname"], 65, "not a TDX firmware"),
        (["--initrd", "/no/such/file"], 64, "'/no/such/file' does not exist"),
        (["--platform", "hardware"], 69, "cannot launch a TD here"),
        (["--no-such-option"], 64, "No such option"),
    ],
)
def test_bad_input_is_one_sentence_with_a_remedy(
    vm_environment: dict[str, str], words: list[str], status: int, sentence: str
) -> None:
    done = labkit("boot", *words, env=vm_environment)
    assert done.returncode == status
    assert done.stdout == ""
    said, remedy = done.stderr.strip().splitlines()
    assert said.startswith("labkit: ")
    assert sentence in said
    assert remedy.strip()


def test_a_state_directory_that_cannot_be_written_is_named(
    vm_environment: dict[str, str], tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = labkit("boot", env={**vm_environment, "LABKIT_STATE_DIR": str(blocked / "state")})
    assert done.returncode == 73
    assert "LABKIT_STATE_DIR" in done.stderr


def test_stopping_needs_a_name_that_runs(vm_environment: dict[str, str]) -> None:
    assert labkit("stop", env=vm_environment).returncode == 64
    unknown = labkit("stop", "nobody", env=vm_environment)
    assert unknown.returncode == 64
    assert "No TDVM nobody is running" in unknown.stderr
    assert labkit("stop", "--all", env=vm_environment).stdout == "Nothing is running.\n"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("/venv/bin/python -m labkit.kernel -f /run/kernel-1.json", "kernel"),
        ("/venv/bin/python /venv/bin/labkit sweep boot.ipynb -j 2", "sweep"),
        ("/venv/bin/labkit sweep boot.ipynb", "sweep"),
        ("vim labkit sweep.py", None),
        ("/venv/bin/python -m ipykernel_launcher -f x", None),
        ("/venv/bin/python /venv/bin/labkit ps", None),
    ],
)
def test_what_runs_is_told_by_its_command_line(line: str, kind: str | None) -> None:
    assert (found[0] if (found := kind_of(line.split())) else None) == kind


def test_a_kernel_is_listed_where_it_is_at_home_and_stopped_by_its_id(
    vm_environment: dict[str, str], tmp_path: Path
) -> None:
    # A process with a kernel's command line; a real one is slow to start.
    (tmp_path / "labkit").mkdir()
    (tmp_path / "labkit/__init__.py").touch()
    (tmp_path / "labkit/kernel.py").write_text("print('up', flush=True)\ninput()\n")
    kernel = subprocess.Popen(
        [sys.executable, "-m", "labkit.kernel"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=vm_environment,
        cwd=tmp_path,
    )
    assert kernel.stdout is not None
    assert kernel.stdout.readline() == b"up\n"
    (listed,) = json.loads(labkit("ps", "--json", env=vm_environment).stdout)
    validate("ps", [listed])
    assert (listed["id"], listed["kind"]) == (f"kernel-{kernel.pid}", "kernel")
    elsewhere = {**vm_environment, "LABKIT_STATE_DIR": str(tmp_path / "state")}
    assert labkit("ps", env=elsewhere).stdout == "Nothing is running.\n"
    assert labkit("stop", listed["id"], env=vm_environment).stdout == f"stopped {listed['id']}\n"
    kernel.communicate(timeout=30)
    assert kernel.returncode == -signal.SIGTERM


@pytest.mark.vm
def test_many_tdvms_share_memory_and_nothing_else(vm_environment: dict[str, str]) -> None:
    ask = "hostname; cat /proc/sys/kernel/random/boot_id; date +%s"
    done = labkit("boot", "--memory", "256", "--count", "3", "--exec", ask, "--json", env=vm_environment)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    validate("boot-count", document)
    answers = [tdvm["commands"][0]["stdout"].split() for tdvm in document["tdvms"]]
    assert [name for name, _, _ in answers] == [tdvm["name"] for tdvm in document["tdvms"]]
    assert len({name for name, _, _ in answers}) == len({boot for _, boot, _ in answers}) == 3
    assert all(abs(int(seconds) - time.time()) < 120 for _, _, seconds in answers)
    # The second and third were resumed from what the first one left, or all from an earlier one.
    warm = [tdvm["memory_taken"] for tdvm in document["tdvms"] if not tdvm["cold"]]
    assert len(warm) >= 2


def test_more_tdvms_than_fit_are_refused_with_how_many_would(vm_environment: dict[str, str]) -> None:
    done = labkit("boot", "--memory", "100000", "--count", "900", env=vm_environment)
    assert done.returncode == 64
    assert "900 TDVMs of 100000 MiB do not fit" in done.stderr
    assert labkit("boot", "--count", "0", env=vm_environment).returncode == 64
