"""The container's arguments: least privilege by default, the document's flags to the letter where asked."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from labkit.asterinas import Profile
from labkit.asterinas.versions import PROFILES
from labkit.bootlog.asterinas import BootLogReader
from labkit.container.container import Creation, Options, creation
from labkit.container.engine import Engine, connect
from labkit.container.previewing import preview
from labkit.container.session import start_session
from labkit.errors import UsageError
from tests.container.engines import environ

SOURCE = Path("/home/someone/asterinas")


def plan(profile: Profile, **options: Any) -> Creation:
    given = {"image": profile.image, "source": SOURCE, **options}
    return creation(profile, Options(**given), profile.make(auto_test="boot"))


@pytest.mark.parametrize(
    ("name", "command"),
    [
        (
            "0.9.0-tdx",
            "docker run -it --privileged --network=host --device=/dev/kvm"
            " -v /home/someone/asterinas:/root/asterinas asterinas/asterinas:0.9.0-tdx",
        ),
        (
            "0.18.1-tdx",
            "docker run -it --privileged --network=host -v /dev:/dev"
            f" -v /home/someone/asterinas:/root/asterinas {PROFILES['0.18.1-tdx'].image}",
        ),
    ],
)
def test_as_documented_is_the_document_to_the_letter(name: str, command: str) -> None:
    made = plan(Profile.named(name), as_documented=True)
    assert made.command_line == command
    assert made.input.startswith(
        f"cd /root/asterinas && {shlex.join(Profile.named(name).make(auto_test='boot'))}"
    )
    assert "command" not in made.config


@pytest.mark.parametrize("name", PROFILES)
def test_by_default_there_are_no_privileges(name: str) -> None:
    made = plan(Profile.named(name), kvm=Profile.named(name).tdx)
    assert made.host["cap_drop"] == ["ALL"]
    assert "privileged" not in made.host
    assert "network_mode" not in made.host
    assert made.host.get("devices", []) == (["/dev/kvm"] if Profile.named(name).tdx else [])
    assert made.host["binds"] == [f"{SOURCE}:/root/asterinas"]
    assert all(binding == ("127.0.0.1",) for binding in made.host.get("port_bindings", {}).values())


@pytest.mark.parametrize("name", PROFILES)
def test_every_port_variable_is_pinned_to_a_port_of_its_own(name: str) -> None:
    made = plan(Profile.named(name))
    pins = dict(word.split("=") for word in made.config["command"] if word.split("=")[0].endswith("PORT"))
    assert set(pins) == set(Profile.named(name).port_variables)
    assert len(set(pins.values())) == len(pins)
    assert {int(port) for port in pins.values()} <= set(made.host.get("port_bindings", {}))


def test_without_a_bridge_the_ports_are_those_of_the_host() -> None:
    chosen = Profile.named("0.18.1")
    ports = {name: 40000 + number for number, name in enumerate(chosen.port_variables)}
    made = plan(chosen, host_network=True, ports=ports)
    assert made.host["network_mode"] == "host"
    assert "port_bindings" not in made.host
    assert "SSH_PORT=40000" in made.config["command"]


def test_a_preview_names_every_step_without_an_engine() -> None:
    shown = preview(Profile.named("0.9.0-tdx"), "https://example.org/a.git", {"MEM": "2048M"})
    assert shown.clone == "git clone --depth=1 --branch=v0.9.0 https://example.org/a.git /asterinas"
    assert shown.documented.startswith("docker run -it --privileged --network=host --device=/dev/kvm -v ")
    assert "--privileged" not in shown.own
    assert shown.make == "make run INTEL_TDX=1 AUTO_TEST=boot MEM=2048M"
    assert all(text in str(shown) for text in shown.to_dict().values())


def test_a_source_with_a_colon_is_refused() -> None:
    with pytest.raises(UsageError, match="colon"):
        plan(Profile.named("0.18.1"), source=Path("/a:b"))


# What the engine makes up for each container, and what only an attached command line knows.
MADE_UP = {"Hostname", "ConsoleSize"}


def settled(part: dict[str, Any]) -> dict[str, Any]:
    """Without what is made up; the engine reads nothing, null, zero and empty alike, and -1 as no limit."""
    return {key: value for key, value in part.items() if key not in MADE_UP and value and value != -1} | {
        "Binds": sorted(part.get("Binds") or ())
    }  # which the command line keeps in no order


@pytest.mark.docker
@pytest.mark.parametrize("form", ["0.9.0-tdx", "0.18.1-tdx", "0.18.1", "default", "default-td", "no-bridge"])
def test_the_created_container_is_the_one_that_the_docker_command_creates(
    engine: Engine, base_image: str, tmp_path: Path, form: str
) -> None:
    """Inspect both, and compare every field of Config and HostConfig."""
    options: dict[str, Any] = {"as_documented": True}
    if form == "default":
        options = {}
    elif form == "default-td":
        options = {"kvm": True}
    elif form == "no-bridge":
        options = {"host_network": True, "ports": {"SSH_PORT": 40001}}
    name = {"default": "0.18.1", "default-td": "0.9.0-tdx", "no-bridge": "0.18.1"}.get(form, form)
    made = plan(Profile.named(name), **{"image": base_image, "source": tmp_path, **options})
    words = shlex.split(made.command_line)
    assert words[:2] == ["docker", "run"]
    client = connect(engine)
    # The image has no command of its own, as the documented one has: the same is given to both.
    tail = [] if "command" in made.config else ["bash"]
    config = made.config if "command" in made.config else {**made.config, "command": ["bash"]}
    created = subprocess.run(
        ["docker", "create", *words[2:], *tail],
        env=environ(engine),
        capture_output=True,
        text=True,
        check=False,
    )
    assert created.returncode == 0, created.stderr
    theirs = client.api.inspect_container(created.stdout.strip())
    try:
        reader = BootLogReader()
        with start_session(client, engine, Creation(config, made.host, ""), reader) as session:
            ours = client.api.inspect_container(session.container)
    finally:
        client.api.remove_container(theirs["Id"], force=True)
        client.close()
    for part in ("Config", "HostConfig"):
        assert settled(ours[part]) == settled(theirs[part])
