"""The flow on Podman, root's or the user's own, where it is installed: the same run, the same ends."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit.container.engine import Engine, connect, find_engine
from labkit.container.image import ImageStore
from labkit.container.session import run_once
from labkit.errors import LabkitError, MissingComponent, UsageError
from tests.container.conftest import IMAGE, contract_tree
from tests.container.engines import unmount_below
from tests.container.test_run import QUICK

pytestmark = pytest.mark.docker

# A Podman that is itself in a container may not raise limits, and crun needs control groups of one kind.
# Without overlays, every container is a copy of its whole image.
_WAYS = tuple(
    ("--storage-driver", driver, *runtime)
    for driver in ("overlay", "vfs")
    for runtime in ((), ("--runtime", "runc"))
)
_LIMITS = '[containers]\ndefault_ulimits = ["nofile=1000:1000", "nproc=1000:1000"]\n'


def _service(folder: Path, way: tuple[str, ...]) -> subprocess.Popen[bytes]:
    (folder / "containers.conf").write_text(_LIMITS)
    words = ["podman", "--root", str(folder / "data"), "--runroot", str(folder / "run"), *way]
    words += ["system", "service", "--time=0", f"unix://{folder}/podman.sock"]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "CONTAINERS_CONF": str(folder / "containers.conf")},
            start_new_session=True,
        )


def _wait(process: subprocess.Popen[bytes], address: str) -> Engine | None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        found = find_engine({"DOCKER_HOST": address})
        if found.answers:
            return found
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    return None


@pytest.fixture(scope="module")
def podman(engine: Engine, contract_image: str) -> Iterator[Engine]:
    """A Podman of the tests' own, with the images of the other engine."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    # A Unix socket's path is short: not below pytest's own folder.
    folder = Path(tempfile.mkdtemp(prefix="labkit-test-podman-", dir="/tmp"))
    archive = folder / "images.tar"
    with archive.open("wb") as file:
        source = connect(engine)
        file.writelines(source.api.get_image(IMAGE))
        source.close()
    why = "it does not start"
    try:
        for way in _WAYS:
            process = _service(folder, way)
            try:
                found = _wait(process, f"unix://{folder}/podman.sock")
                if found is None:
                    continue
                client = connect(found, timeout=600)
                try:
                    ImageStore(client, found).load(archive)
                    run_once(client, found, f"localhost/{IMAGE}", ["true"])
                except LabkitError as error:
                    why = str(error)
                    continue
                finally:
                    client.close()
                yield found
                return
            finally:
                process.terminate()
                process.wait(30)
        pytest.skip(f"podman cannot run a container here: {why}")
    finally:
        unmount_below(folder)  # it mounts its own storage upon itself, and leaves that
        shutil.rmtree(folder, ignore_errors=True)


def _run(podman: Engine, folder: Path, *words: str) -> tuple[subprocess.Popen[str], list[str]]:
    assert podman.address
    tree = contract_tree(folder, "0.18.1")
    argv = [sys.executable, "-m", "labkit", "asterinas", "run", "--source", str(tree), "--profile", "0.18.1"]
    argv += ["--image", f"localhost/{IMAGE}", "--json", *QUICK, *words]
    environ = {**os.environ, "DOCKER_HOST": podman.address, "LABKIT_STATE_DIR": str(folder / "state")}
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(argv, text=True, env=environ, **pipes), argv


def names(podman: Engine) -> list[str]:
    client = connect(podman)
    try:
        return [container.name for container in client.containers.list(all=True)]
    finally:
        client.close()


def test_it_is_called_what_it_is(podman: Engine) -> None:
    assert podman.kind == "Podman"
    assert podman.rootless == (os.geteuid() != 0)


def test_the_smoke_test_boots(podman: Engine, tmp_path: Path) -> None:
    process, _ = _run(podman, tmp_path)
    stdout, stderr = process.communicate(timeout=170)
    assert process.returncode == 0, stdout + stderr
    result = json.loads(stdout)
    assert (result["verdict"], result["trust"]) == ("BOOTED", "none")
    assert "20022" in result["ports"].values()
    assert names(podman) == []


@pytest.mark.parametrize(("how", "said"), [("remove", "removed"), ("kill", "killed"), ("stop", "stopped")])
def test_who_ended_the_container_is_named(podman: Engine, tmp_path: Path, how: str, said: str) -> None:
    process, _ = _run(podman, tmp_path, "--make", "CONTRACT_FAULT=hang")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(("firmware (", "init (")):
            break
    (name,) = names(podman)
    client = connect(podman)
    try:
        if how == "remove":
            client.api.remove_container(name, force=True)
        elif how == "kill":
            client.api.kill(name)
        else:
            client.api.stop(name, timeout=1)
    finally:
        client.close()
    stdout, stderr = process.communicate(timeout=90)
    assert process.returncode == 1, stderr
    assert f"{said} from outside" in json.loads(stdout)["sentence"]
    assert names(podman) == []


def test_an_image_without_make_is_one_sentence(podman: Engine, engine: Engine, tmp_path: Path) -> None:
    client = connect(podman, timeout=120)
    try:
        with pytest.raises(MissingComponent, match="has no `make`"):
            run_once(client, podman, f"localhost/{IMAGE}", ["make-is-not-here"])
    finally:
        client.close()


def test_a_build_says_its_steps_and_a_bad_archive_is_named(podman: Engine, tmp_path: Path) -> None:
    said: list[str] = []
    bad = tmp_path / "bad.tar"
    bad.write_bytes(b"nonsense" * 100)
    client = connect(podman, timeout=120)
    before = {image["Id"] for image in client.api.images(all=True)}
    try:
        context = {"Dockerfile": f"FROM localhost/{IMAGE}\nRUN true\nRUN exit 3\n".encode()}
        with pytest.raises(MissingComponent, match="could not be built"):
            ImageStore(client, podman, said.append).build(context, "labkit-test-broken:1")
        with pytest.raises(UsageError, match="not an image that the engine can load") as caught:
            ImageStore(client, podman, said.append).load(bad)
        assert {image["Id"] for image in client.api.images(all=True)} == before
    finally:
        client.close()
    assert "Server Error" not in caught.value.message
    assert "None" not in caught.value.message
    assert [line for line in said if "RUN exit 3" in line]
