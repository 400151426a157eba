"""The documented flow, run by its verb on a real engine: the contract image stands in for the registry's."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labkit import lab
from labkit.container.engine import Engine, connect
from labkit.container.flow import ContainerRun
from labkit.container.plan import RunRequest, plan_run
from labkit.host import HostVerdict, verify
from labkit.settings import Settings
from tests.container.conftest import Flow, Ran, contract_tree

pytestmark = pytest.mark.docker


def newest(flow: Flow) -> dict[str, Any]:
    """What the last run recorded."""
    runs = sorted((flow.folder / "state/runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    document: dict[str, Any] = json.loads((runs[-1] / "result.json").read_text())
    return document


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


@pytest.fixture(scope="module")
def smoked(flow: Flow) -> dict[str, Ran]:
    """The smoke test of both versions, at the same time."""
    words = ("--no-kvm", "--auto-test", "--memory", "1024")
    versions = ("0.9.0", "0.18.1")
    with ThreadPoolExecutor(2) as pool:
        return dict(
            zip(versions, pool.map(lambda version: flow(*words, version=version), versions), strict=True)
        )


@pytest.mark.parametrize("version", ["0.9.0", "0.18.1"])
def test_two_smoke_tests_at_once_boot_through_firmware_and_boot_loader(
    smoked: dict[str, Ran], engine: Engine, version: str
) -> None:
    ran = smoked[version]
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
    ran = flow(*words, "--exec", "uname -s", "--exec", "sh -c 'exit 3'", "--exec", "true", as_json=False)
    assert ran.status == 0, ran.stderr
    assert "$ uname -s\nLinux\n$ sh -c 'exit 3'\n[exit status 3]\n$ true\n" in ran.stdout
    result = newest(flow)
    done = [(command["stdout"].strip(), command["exit_status"]) for command in result["commands"]]
    assert done == [("Linux", 0), ("", 3), ("", 0)]
    assert [stage["name"] for stage in result["stages"]][-1] == "prompt"
    typed = flow(*words, version="0.9.0", stdin="echo $((6 * 7))\npoweroff -f\n", as_json=False)
    assert typed.status == 0, typed.stderr
    assert typed.stdout.startswith("42\n")
    assert "[EMULATED] platform container, trust none" in typed.stdout
    assert "BOOTED" in typed.stdout


HAS_KVM = Path("/dev/kvm").exists()

# What is done wrong → the failure that must be recognized (None: no known one), and how the run is judged.
FAULTS: dict[str, tuple[str | None, str]] = {
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
    "old-qemu": ("qemu-without-tdx", "FAILED"),
    # QEMU really gets the TDX object: KVM without TDX stops it as it stops the real one, or there is no KVM.
    "nested": (None, "FAILED"),
    "screen": ("screen-port-taken", "FAILED"),
    "td": ("vm-type-upstream" if HAS_KVM else "no-kvm", "FAILED"),
    "kvm": ("no-kvm", "FAILED"),
    "target": ("no-target", "FAILED"),
    # The guest resets: QEMU ends with its code of success, and nothing has said that it booted.
    "reset": (None, "FAILED"),
    "hang": (None, "HANG"),
}
_WORDS = {
    "td": ("--kvm" if HAS_KVM else "--no-kvm",),
    "kvm": ("--make", "ENABLE_KVM=1"),
    "hang": ("--timeout", "20"),
}


@pytest.fixture(scope="module")
def failed(flow: Flow) -> Iterator[dict[str, Future[Ran]]]:
    """Every fault, run for real, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        runs = {
            name: pool.submit(flow, *QUICK, *_WORDS.get(name, ()), fault=name)
            for name in FAULTS
            if name != "target"
        }
        old = contract_tree(flow.folder, "0.9.0")
        (old / "VERSION").unlink()  # a tree that says its version is refused before
        runs["target"] = pool.submit(flow, *QUICK, "--source", str(old))
        yield runs


@pytest.mark.parametrize("name", FAULTS)
def test_a_real_failure_is_recognized_and_gets_its_remedy(failed: dict[str, Future[Ran]], name: str) -> None:
    ran = failed[name].result()
    assert ran.status == 1, ran.stdout + ran.stderr
    failure, verdict = FAULTS[name]
    assert (ran.result["failure"], ran.result["verdict"]) == (failure, verdict), ran.result
    assert bool(ran.result["remedy"]) == (failure is not None or name == "hang")
    assert not ran.result["booted"]
    assert "Traceback" not in ran.stderr


def test_an_expired_timeout_says_so(failed: dict[str, Future[Ran]]) -> None:
    assert "the 20 s that were given for the boot are over" in failed["hang"].result().result["sentence"]


def test_a_failed_nested_make_is_no_failed_guest(failed: dict[str, Future[Ran]]) -> None:
    sentence = failed["nested"].result().result["sentence"]
    assert "guest ran" not in sentence
    assert "builder for '/nix/store/0-busybox.drv' failed" in sentence


def test_no_failed_run_leaves_a_container(failed: dict[str, Future[Ran]], engine: Engine) -> None:
    assert all(run.result() for run in failed.values())
    assert containers(engine) == set()


def started(flow: Flow, argv: list[str] | None = None) -> subprocess.Popen[str]:
    """A run that stands still, once its guest's firmware has begun."""
    process = subprocess.Popen(
        argv or flow.argv(*QUICK, fault="hang"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=flow.environ,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(("firmware (", "ostd (", "init (")):
            return process
    raise AssertionError(f"it ended with {process.wait()}")


def test_ctrl_c_ends_the_run_and_leaves_a_result_and_no_container(flow: Flow, engine: Engine) -> None:
    process = started(flow)
    assert containers(engine) != set()
    assert newest(flow)["verdict"] == "RUNNING"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert containers(engine) == set()
    result = newest(flow)
    ended = ("FAILED", False, "The run was interrupted.")
    assert (result["verdict"], result["booted"], result["error"]) == ended


def test_a_killed_run_leaves_no_container(flow: Flow, engine: Engine) -> None:
    import docker

    process = started(flow)
    (name,) = containers(engine)
    process.kill()
    process.communicate()
    client = connect(engine)
    # What removes it is a process of its own: the engine says when that has happened.
    with contextlib.suppress(docker.errors.NotFound):
        client.api.wait(name, condition="removed", timeout=60)
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


def test_as_documented_is_run_or_refused_in_one_sentence(flow: Flow) -> None:
    ran = flow("--as-documented", *QUICK, version="0.9.0")
    assert "docker run -it --privileged --network=host --device=/dev/kvm -v " in ran.stderr
    if ran.status == 0:
        assert ran.result["verdict"] == "BOOTED"
    else:
        # There is no /dev/kvm, or the engine itself may not do what is asked of it.
        assert ran.status == 69
        assert re.search(
            r"labkit: (?:The engine may not start a privileged|There is no /dev/kvm)", ran.stderr
        )


def test_the_documented_line_is_typed_into_the_image_s_shell(flow: Flow, tmp_path: Path) -> None:
    """The documented container without its privileges, which not every machine can give."""
    settings = Settings(tmp_path / "cache", tmp_path / "state")
    request = RunRequest(
        profile="0.9.0",
        as_documented=True,
        auto_test=True,
        image=flow.image,
        source=contract_tree(tmp_path, "0.9.0"),
        kvm=False,
        variables={"BOOT_METHOD": "qemu-direct"},
    )
    plan = plan_run(request, settings)
    binds = {"binds": plan.creation.host["binds"]}
    plan = replace(plan, creation=replace(plan.creation, host=binds))
    with ContainerRun(plan, request, settings, verify()) as running:
        assert running.wait()
        result = running.close()
    assert result.booted, result.report.sentence
    assert result.report.exit_code == 0


def test_a_combination_that_cannot_work_is_refused_before_anything_starts(flow: Flow) -> None:
    if verify().verdict is HostVerdict.READY:
        pytest.skip("this host can run TDs")
    ran = flow("--profile", "0.9.0-tdx", "--auto-test")
    assert ran.status == 69
    assert "0.9.0, the ordinary guest" in ran.stderr
    assert "pulling" not in ran.stderr


def test_the_source_is_fetched_at_the_tag_and_the_whole_flow_runs_from_python(
    flow: Flow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What chapter 02 does where an image is named, from a repository with the profile's tag."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    upstream = contract_tree(tmp_path, "0.18.1")
    git = ["git", "-C", str(upstream), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "tree"], ["tag", "v0.18.1"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setenv("LABKIT_ASTERINAS_URL", f"file://{upstream}")
    monkeypatch.setenv("LABKIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("LABKIT_STATE_DIR", str(tmp_path / "state"))
    result = lab.asterinas_run("0.18.1", flow.image, memory=1024, smp=1)
    assert result.booted, result.report.sentence
    assert result.plan.source.own
    assert (tmp_path / "cache/asterinas/v0.18.1/qemu-serial.log").is_file()
    assert {"MEM=1024M", "SMP=1", "ENABLE_KVM=0", "AUTO_TEST=boot"} <= set(result.plan.make)
    assert "EMULATED" in str(result)
    assert "EMULATED" in result._repr_html_()
