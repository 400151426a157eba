"""What an engine's own documents say about it, and what is said where none answers."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from labkit.container.engine import Engine, connect, describe, find_engine
from labkit.errors import MissingComponent

VERSION = {"Version": "28.2.2", "Os": "linux", "Arch": "amd64", "Components": [{"Name": "Engine"}]}
INFO: dict[str, Any] = {
    "Driver": "overlay2",
    "CgroupVersion": "2",
    "DockerRootDir": "/",
    "SecurityOptions": ["name=seccomp,profile=builtin"],
}


def test_docker_is_described() -> None:
    found = describe("unix:///var/run/docker.sock", VERSION, INFO, {"bridge", "host", "none"})
    assert (found.kind, found.version, found.storage, found.cgroup) == ("Docker", "28.2.2", "overlay2", "2")
    assert (found.rootless, found.bridge, found.root) == (False, True, "/")
    assert str(found) == "Container engine: Docker 28.2.2 on linux/amd64, storage overlay2, cgroup v2"


def test_rootless_docker_and_an_engine_without_a_bridge_say_so() -> None:
    info = {**INFO, "SecurityOptions": ["name=seccomp", "name=rootless"]}
    found = describe("unix:///run/user/1000/docker.sock", VERSION, info, {"host", "none"})
    assert found.rootless
    assert not found.bridge
    assert str(found).endswith("rootless, no bridge: containers share the host's network")


def test_podman_is_told_by_its_components() -> None:
    version = {**VERSION, "Version": "5.4.2", "Components": [{"Name": "Podman Engine"}]}
    found = describe("unix:///run/podman/podman.sock", version, INFO, {"podman"})
    assert (found.kind, found.bridge) == ("Podman", True)


def test_a_remote_engine_has_no_data_directory_here() -> None:
    assert describe("tcp://elsewhere:2376", VERSION, INFO, {"bridge"}).root is None


def test_nothing_at_the_socket(tmp_path: Path) -> None:
    found = find_engine({"DOCKER_HOST": f"unix://{tmp_path}/nothing.sock"})
    address = f"unix://{tmp_path}/nothing.sock"
    assert str(found) == f"No container engine: DOCKER_HOST is {address}: nothing listens there"
    with pytest.raises(MissingComponent, match="no container engine"):
        connect(found)


def test_a_socket_without_an_engine_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(path))
    found = find_engine({"DOCKER_HOST": f"unix://{path}"})
    assert found.detail.endswith("dead.sock: its socket is there, but no engine answers behind it")


def test_of_the_usual_sockets_the_one_that_answers_counts(tmp_path: Path) -> None:
    """A rootless engine's socket stands in the user's runtime directory."""
    found = find_engine({"XDG_RUNTIME_DIR": str(tmp_path)})
    if found.answers:
        assert found.address is not None
    else:
        assert found.detail


@pytest.mark.docker
def test_a_rootless_socket_is_found(engine: Engine, tmp_path: Path) -> None:
    """The socket of the user's runtime directory is used where Docker's usual one is not there."""
    assert engine.address is not None
    if Path("/var/run/docker.sock").exists():
        pytest.skip("this machine has Docker's usual socket")
    (tmp_path / "docker.sock").symlink_to(engine.address.removeprefix("unix://"))
    found = find_engine({"XDG_RUNTIME_DIR": str(tmp_path)})
    assert found.answers
    assert found.address == f"unix://{tmp_path}/docker.sock"
