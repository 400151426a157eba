"""The toolbox image: TDX command lines before a TDX-capable QEMU, the emulated platform inside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labkit.asterinas.machine import asterinas_machine
from labkit.asterinas.versions import PROFILES
from labkit.container.engine import Engine, connect
from labkit.container.session import run_once
from labkit.container.toolbox import build_toolbox, run_in_toolbox
from labkit.errors import LabkitError
from labkit.guest.types import LINUX
from labkit.host.kvm_generation import Generation
from labkit.toolchain.toolchain import Firmware
from labkit.vm import BootSpec, MachineConfig
from labkit.vm.qemu import Sockets, tdx_arguments
from labkit.vm.spec import Port, TrustDomain

pytestmark = pytest.mark.docker

FIRMWARE = Path("/usr/share/ovmf/OVMF.fd")
HAS_KVM = Path("/dev/kvm").exists()
REFUSAL = "vm-type TDX not supported by KVM" if HAS_KVM else "Could not access KVM kernel module"


def qemu(engine: Engine, image: str, words: list[str]) -> tuple[int, list[str]]:
    """Give QEMU of the image a command line; its status and its lines.

    The wires are descriptors that it would inherit from labkit: here they lead nowhere.
    """
    wired = ["null" if word.startswith("socket,id=") else word for word in words]
    names = iter(word.split(",")[1] for word in words if word.startswith("socket,id="))
    wired = [f"null,{next(names)}" if word == "null" else word for word in wired]
    client = connect(engine)
    try:
        status, said = run_once(client, engine, image, ("qemu-system-x86_64", *wired), kvm=HAS_KVM)
    finally:
        client.close()
    return status, [line for line in said.decode().splitlines() if "warning:" not in line]


def td(board: MachineConfig) -> list[str]:
    """labkit's own command line of a TD."""
    firmware = Firmware(FIRMWARE, FIRMWARE, FIRMWARE)
    spec = BootSpec(
        firmware,
        Path("/etc/hostname"),
        Path("/etc/hostname"),
        "",
        LINUX,
        memory=512,
        tpm=False,
        board=board,
        td=TrustDomain(),
    )
    return tdx_arguments(spec, Sockets(3, 4, 5))


def without_object(words: list[str]) -> list[str]:
    at = words.index("-object")
    return [*words[:at], *words[at + 2 :]]


OWN = sorted(name for name, row in PROFILES.items() if row.generation is Generation.UPSTREAM)


BOARDS = {"linux": MachineConfig(), **{f"asterinas-{port.value}": asterinas_machine(port) for port in Port}}


@pytest.mark.parametrize("name", BOARDS)
def test_the_td_command_line_is_taken_and_only_the_missing_tdx_is_refused(
    engine: Engine, qemu_image: str, name: str
) -> None:
    status, said = qemu(engine, qemu_image, td(BOARDS[name]))
    assert status == 1
    assert REFUSAL in said[0], said


@pytest.mark.parametrize("name", OWN)
def test_the_object_that_a_profile_documents_is_taken(engine: Engine, qemu_image: str, name: str) -> None:
    documented = PROFILES[name].tdx_object
    assert documented
    status, said = qemu(engine, qemu_image, [*without_object(td(MachineConfig())), "-object", documented])
    assert status == 1
    assert REFUSAL in said[0], said


@pytest.mark.parametrize("name", ["0.9.0-tdx"])
def test_the_object_of_the_mvp_generation_is_not(engine: Engine, qemu_image: str, name: str) -> None:
    """So the test above can fail: an option of another generation is refused by its name."""
    documented = PROFILES[name].tdx_object
    assert documented
    status, said = qemu(engine, qemu_image, [*without_object(td(MachineConfig())), "-object", documented])
    assert status == 1
    assert not any(REFUSAL in line for line in said)
    assert any("quote-generation-service" in line for line in said), said


def test_the_emulated_platform_boots_in_the_toolbox(engine: Engine, base_image: str, qemu_image: str) -> None:
    try:
        toolbox = build_toolbox(lambda text: None, base_image)
    except LabkitError as error:
        pytest.skip(f"the toolbox image cannot be built: {error}")
    assert toolbox.objects == ("tdx-guest",)
    version = tuple(int(part) for part in toolbox.qemu.removeprefix("QEMU ").split(".")[:2])
    assert version >= (10, 1)
    boot = "labkit boot --platform emulated --exec 'id -u' --json"
    status, said = run_in_toolbox(("sh", "-c", f"{boot} && {boot}"))
    assert status == 0, said.decode()
    first, second = _documents(said.decode())
    assert (first["trust"], first["stamp"], first["accelerator"]) == ("none", "EMULATED", "tcg")
    assert first["commands"][0]["stdout"].strip() == "0"
    assert len(first["mrtd"]) == 96
    # This QEMU takes a snapshot in its own way.
    assert (first["cold"], second["cold"]) == (True, False), said.decode()
    assert second["rtmr"] == first["rtmr"]


def _documents(said: str) -> list[dict[str, Any]]:
    """The JSON documents between lines of progress."""
    found = []
    while (begin := said.find("\n{")) >= 0:
        document, length = json.JSONDecoder().raw_decode(said[begin + 1 :])
        found.append(document)
        said = said[begin + 1 + length :]
    return found
