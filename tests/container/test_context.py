"""Where an engine is looked for: as docker's own command does it, and what is said where nothing is there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import threading
from pathlib import Path

import pytest

from labkit.container.context import addresses
from labkit.container.engine import connect, find_engine
from labkit.errors import MissingComponent


def context(home: Path, name: str, host: str) -> None:
    folder = home / ".docker/contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    document = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}
    (folder / "meta.json").write_text(json.dumps(document))


def chosen(home: Path, name: str) -> None:
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker/config.json").write_text(json.dumps({"currentContext": name}))


def test_the_context_that_was_chosen_is_the_only_address(tmp_path: Path) -> None:
    context(tmp_path, "rootless", "unix:///run/user/1000/docker.sock")
    chosen(tmp_path, "rootless")
    (place,) = addresses({"HOME": str(tmp_path)})
    assert place.address == "unix:///run/user/1000/docker.sock"
    assert "rootless" in place.why


def test_the_environment_outranks_what_was_chosen(tmp_path: Path) -> None:
    context(tmp_path, "one", "unix:///one.sock")
    context(tmp_path, "two", "unix:///two.sock")
    chosen(tmp_path, "one")
    home = {"HOME": str(tmp_path)}
    assert addresses({**home, "DOCKER_CONTEXT": "two"})[0].address == "unix:///two.sock"
    assert addresses({**home, "DOCKER_CONTEXT": "two", "DOCKER_HOST": "unix:///3"})[0].address == "unix:///3"
    assert len(addresses({**home, "DOCKER_CONTEXT": "default"})) == 4
    elsewhere = {"HOME": "/nothing", "DOCKER_CONFIG": str(tmp_path / ".docker")}
    assert addresses(elsewhere)[0].address == "unix:///one.sock"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"currentContext": 3}', '{"currentContext": ""}', "{}"])
def test_a_configuration_that_says_nothing_leaves_the_usual_sockets(tmp_path: Path, text: str) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(text)
    assert [place.why for place in addresses({"HOME": str(tmp_path)})] == [""] * 4


def test_a_configuration_that_never_ends_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    os.mkfifo(tmp_path / ".docker/config.json")
    assert [place.why for place in addresses({"HOME": str(tmp_path)})] == [""] * 4


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '{"Name": "c"}'),
        *(f'{{"Endpoints": {{"docker": {{"Host": {host}}}}}}}' for host in ("null", "5", '""')),
    ],
)
def test_a_context_whose_file_names_no_engine_is_not_called_missing(tmp_path: Path, text: str) -> None:
    context(tmp_path, "c", "unix:///x")
    chosen(tmp_path, "c")
    (meta,) = (tmp_path / ".docker").glob("contexts/meta/*/meta.json")
    meta.write_text(text)
    (place,) = addresses({"HOME": str(tmp_path)})
    assert (place.address, place.why) == (None, f"the Docker context is 'c', and its {meta} names no engine")


def test_a_password_in_an_address_is_not_shown() -> None:
    found = find_engine({"DOCKER_HOST": "tcp://me:secret@10.0.0.1:2375"})
    assert "tcp://me:…@10.0.0.1:2375" in found.detail
    assert "secret" not in found.detail


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "is not an address of an engine's socket"),
        ("/etc/passwd", "/etc/passwd is not a socket"),
        ("/etc", "/etc is not a socket"),
        ("/" + "x" * 300, "too long for a socket's"),
    ],
)
def test_what_is_no_socket_is_not_called_an_engine(name: str, words: str) -> None:
    assert words in find_engine({"DOCKER_HOST": f"unix://{name}"}).detail


def test_a_context_that_is_not_there_is_said_and_nothing_else_is_tried(tmp_path: Path) -> None:
    chosen(tmp_path, "gone")
    found = find_engine({"HOME": str(tmp_path)})
    assert "'gone', and there is no such context" in found.detail
    with pytest.raises(MissingComponent) as caught:
        connect(found)
    assert "docker context ls" in caught.value.remedy


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tcp://127.0.0.1:2375", "reached over tcp"),
        ("ssh://me@elsewhere", "reached over ssh"),
        ("http://127.0.0.1:2375", "reached over http"),
        ("/var/run/docker.sock", "not an address of an engine's socket"),
        ("nonsense", "not an address of an engine's socket"),
    ],
)
def test_an_address_that_cannot_serve_is_called_what_it_is(address: str, words: str) -> None:
    found = find_engine({"DOCKER_HOST": address})
    assert not found.answers
    assert words in found.detail
    assert "DOCKER_HOST" in found.detail
    assert "its socket is there" not in found.detail
    with pytest.raises(MissingComponent) as caught:
        connect(found)
    assert "DOCKER_HOST" in caught.value.remedy


def test_a_podman_socket_without_its_service(tmp_path: Path) -> None:
    folder = tmp_path / "podman"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(folder / "podman.sock"))
    found = find_engine({"DOCKER_HOST": f"unix://{folder}/podman.sock"})
    assert "podman.socket" in found.detail
    with pytest.raises(MissingComponent) as caught:
        connect(found)
    assert "systemctl --user start podman.socket" in caught.value.remedy


def test_a_socket_that_this_user_may_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    found = find_engine({"DOCKER_HOST": "unix:///var/run/docker.sock"})
    with pytest.raises(MissingComponent) as caught:
        connect(found)
    assert "usermod -aG docker" in caught.value.remedy
    found = find_engine({"DOCKER_HOST": "unix:///run/podman/podman.sock"})
    assert "root's Podman" in found.detail


def test_something_else_behind_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(4)

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    end, _ = server.accept()
                    with end, contextlib.suppress(OSError):
                        if end.recv(1 << 16):
                            end.sendall(b"SSH-2.0-OpenSSH_9\r\n")

        threading.Thread(target=answer, daemon=True).start()
        found = find_engine({"DOCKER_HOST": f"unix://{path}"})
        server.shutdown(socket.SHUT_RDWR)
    assert not found.answers
    assert "not a container engine" in found.detail
