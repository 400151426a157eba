"""The documented flow, run by its verb on a real engine: the contract image stands in for the registry's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labkit.asterinas import Engine, connect
from tests.asterinas.conftest import Ran, contract_tree

pytestmark = pytest.mark.docker

Flow = Callable[..., Ran]

QUICK = ("--no-kvm", "--make", "BOOT_METHOD=qemu-direct", "--auto-test")
"""Without firmware and boot loader, which take two thirds of a boot."""


def containers(engine: Engine) -> set[str]:
    client = connect(engine)
    try:
        return {
            container.name for container in client.containers.list(all=True) if "labkit" in container.name
        }
    finally:
        client.close()


@pytest.mark.parametrize("version", ["0.9.0", "0.18.1"])
def test_the_smoke_test_boots_through_firmware_and_boot_loader(
    flow: Flow, engine: Engine, version: str
) -> None:
    ran = flow("--no-kvm", "--auto-test", "--memory", "1024", version=version)
    assert ran.status == 0, ran.stdout + ran.stderr
    result = ran.result
    assert result["verdict"] == "BOOTED"
    assert (result["trust"], result["stamp"], result["rehearsal"]) == ("none", "EMULATED", True)
    stages = [stage["name"] for stage in result["stages"]]
    assert stages[:4] == ["container", "image", "firmware", "grub"]
    assert stages[-1] == "smoke"
    assert "MEM=1024M" in result["make"]
    assert (Path(result["run_dir"]) / "result.json").is_file()
    assert b"Successfully booted." in (Path(result["run_dir"]) / "console.log").read_bytes()
    assert containers(engine) == set()


def test_the_shell_takes_commands_from_the_option_and_from_standard_input(flow: Flow) -> None:
    words = QUICK[:-1]
    ran = flow(*words, "--exec", "uname -s", "--exec", "sh -c 'exit 3'")
    assert ran.status == 0, ran.stderr
    done = [(command["stdout"].strip(), command["exit_status"]) for command in ran.result["commands"]]
    assert done == [("Linux", 0), ("", 3)]
    assert [stage["name"] for stage in ran.result["stages"]][-1] == "prompt"
    typed = flow(*words, version="0.9.0", stdin="echo $((6 * 7))\npoweroff -f\n", json_=False)
    assert typed.status == 0, typed.stderr
    assert typed.stdout.startswith("42\n")
    assert "[EMULATED] platform container, trust none" in typed.stdout
    assert "BOOTED" in typed.stdout


# fault → the failure that must be recognized, and how the run is judged.
FAULTS = {
    "no-firmware": ("firmware-missing", "FAILED"),
    "no-initrd": ("kernel-missing", "FAILED"),
    "machine": ("machine-type", "FAILED"),
    "memory": ("host-memory", "FAILED"),
    "port": ("port-taken", "FAILED"),
    "disk-full": ("disk-full", "FAILED"),
    "tool": ("tool-missing", "FAILED"),
    "illegal": ("illegal-instruction", "FAILED"),
    "init-exits": ("init-ended", "PANIC"),
    "early-panic": ("panic", "PANIC"),
    "lying-panic": ("panic", "PANIC"),
    "crash": ("linux-panic", "PANIC"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_real_failure_is_recognized_and_gets_its_remedy(flow: Flow, fault: str) -> None:
    ran = flow(*QUICK, fault=fault)
    assert ran.status == 1, ran.stdout + ran.stderr
    failure, verdict = FAULTS[fault]
    assert (ran.result["failure"], ran.result["verdict"]) == (failure, verdict), ran.result
    assert ran.result["remedy"]
    assert not ran.result["booted"]


def test_a_target_of_another_version_is_named(flow: Flow, tmp_path: Path) -> None:
    ran = flow(*QUICK, "--source", str(contract_tree(tmp_path, "0.9.0")))
    assert ran.status == 1
    assert ran.result["failure"] == "no-target"


def test_a_code_of_success_alone_is_no_success(flow: Flow) -> None:
    """The guest resets, QEMU ends with 0, and nothing has said that it booted."""
    ran = flow(*QUICK[:-1], fault="reset")
    assert ran.status == 1
    assert (ran.result["verdict"], ran.result["exit_code"]) == ("FAILED", 0)


def test_a_guest_that_hangs_is_ended_at_its_deadline(flow: Flow, engine: Engine) -> None:
    ran = flow(*QUICK, "--timeout", "15", fault="hang")
    assert ran.status == 1
    assert ran.result["verdict"] == "HANG"
    assert containers(engine) == set()


def test_kvm_that_is_not_in_the_container_is_named(flow: Flow) -> None:
    ran = flow(*QUICK, "--make", "ENABLE_KVM=1")
    assert ran.status == 1
    assert ran.result["failure"] == "no-kvm"


def test_a_td_without_tdx_fails_as_the_real_one_does(flow: Flow) -> None:
    """QEMU really gets the TDX object; KVM without TDX, or no KVM, is what stops it."""
    has_kvm = Path("/dev/kvm").exists()
    ran = flow("--kvm" if has_kvm else "--no-kvm", *QUICK[1:], "--make", "INTEL_TDX=1")
    assert ran.status == 1
    assert ran.result["failure"] == ("vm-type-upstream" if has_kvm else "no-kvm")


def test_a_qemu_without_tdx_is_named(flow: Flow) -> None:
    ran = flow(*QUICK, "--make", "INTEL_TDX=1", fault="old-qemu")
    assert ran.status == 1
    assert ran.result["failure"] == "qemu-without-tdx"


def test_two_runs_at_once_do_not_meet(flow: Flow) -> None:
    done: dict[str, Ran] = {}

    def run(version: str) -> None:
        done[version] = flow(*QUICK, version=version)

    threads = [threading.Thread(target=run, args=(version,)) for version in ("0.9.0", "0.18.1")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {version: ran.status for version, ran in done.items()} == {"0.9.0": 0, "0.18.1": 0}, done


def started(contract_image: str, tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    """A run that will stand still, once its guest's kernel has begun."""
    tree = contract_tree(tmp_path, "0.18.1")
    argv = [
        sys.executable,
        "-m",
        "labkit",
        "asterinas",
        "run",
        "--source",
        str(tree),
        "--image",
        contract_image,
    ]
    argv += ["--profile", "0.18.1", *QUICK, "--make", "CONTRACT_FAULT=hang", *words]
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LABKIT_STATE_DIR": str(tmp_path / "state")},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(("firmware (", "ostd (", "init (")):
            return process
    raise AssertionError(f"it ended with {process.wait()}")


def test_ctrl_c_ends_the_run_and_leaves_no_container(
    contract_image: str, engine: Engine, tmp_path: Path
) -> None:
    process = started(contract_image, tmp_path)
    assert containers(engine) != set()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert containers(engine) == set()


def test_a_killed_run_leaves_no_container(contract_image: str, engine: Engine, tmp_path: Path) -> None:
    process = started(contract_image, tmp_path)
    assert containers(engine) != set()
    client = connect(engine)
    events = client.events(decode=True, filters={"event": "destroy"})
    process.kill()
    process.communicate()
    destroyed: Any = next(events)  # what removes it is a process of its own: its deed is the engine's event
    assert destroyed["Actor"]["Attributes"]["name"].startswith("labkit-asterinas-")
    events.close()
    client.close()
    assert containers(engine) == set()


def test_what_a_dead_owner_left_is_removed_by_the_next_run(
    contract_image: str, engine: Engine, flow: Flow
) -> None:
    import docker

    namespace = Path("/proc/self/ns/pid").stat().st_ino
    name = f"labkit-asterinas-{namespace}-4194305-1-abcd"
    client = connect(engine)
    try:
        client.containers.create(contract_image, "true", name=name)
        ran = flow(*QUICK, fault="machine")
        assert f"removed {name}, whose owner is gone" in ran.stderr
        with pytest.raises(docker.errors.NotFound):
            client.containers.get(name)
    finally:
        client.close()


def test_an_image_that_does_not_exist_is_one_sentence(flow: Flow) -> None:
    ran = flow(*QUICK, "--image", "localhost:1/nothing:1")
    assert ran.status == 69
    assert "localhost:1/nothing:1" in ran.stderr
    assert "Traceback" not in ran.stderr
