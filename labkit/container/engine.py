"""Is there a container engine, which one, what can it do: asked over its API, with Docker's own client."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.container.context import addresses, without_password
from labkit.errors import MissingComponent
from labkit.show import one_line

if TYPE_CHECKING:
    from docker import DockerClient

_TIMEOUT = 5
"""Seconds to wait for an answer."""

NONE_THERE = "nothing listens at the usual socket"


@dataclass(frozen=True)
class Engine:
    """A container engine, or the reason why none answers.

    address: where it answers. kind: Docker or Podman. rootless: its root is an ordinary user outside.
    bridge: containers can have a network of their own; without it they can only share the host's.
    storage: its storage driver. root: its data directory, where that is on this machine. cgroup: version.
    """

    answers: bool
    detail: str
    address: str | None = None
    kind: str | None = None
    version: str | None = None
    rootless: bool = False
    bridge: bool = True
    storage: str | None = None
    root: str | None = None
    cgroup: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The engine as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        return f"Container engine: {self.detail}" if self.answers else f"No container engine: {self.detail}"


def find_engine(environ: Mapping[str, str] | None = None) -> Engine:
    """Describe the engine that docker's own command would use, else one at a usual socket; starts nothing.

    ``DOCKER_HOST`` comes first, then the Docker context in force (``DOCKER_CONTEXT``, or by ``docker
    context use``), then the usual sockets: Docker, rootless Docker, Podman.
    """
    places = addresses(os.environ if environ is None else environ)
    reasons = []
    for place in places:
        if place.address is None:
            return Engine(False, place.why)
        found = _ask(place.address)
        if found.answers:
            return found
        detail = "nothing listens there" if place.why and found.detail == NONE_THERE else found.detail
        reasons.append(f"{place.why}: {detail}" if place.why else detail)
    telling = [reason for reason in reasons if reason != NONE_THERE]
    return Engine(False, telling[0] if telling else NONE_THERE)


def connect(engine: Engine, timeout: float = 60) -> DockerClient:
    """A client of the engine; ``timeout`` in seconds for one answer.

    Raises:
        MissingComponent: there is no engine.
    """
    import docker

    if engine.address is None:
        raise MissingComponent(f"There is no container engine: {engine.detail}.", _remedy(engine.detail))
    return docker.DockerClient(base_url=engine.address, timeout=timeout)


def _remedy(detail: str) -> str:
    if "podman.socket" in detail:
        return "Run `systemctl --user start podman.socket` (root's Podman: with sudo, without --user)."
    if "group docker" in detail:
        return "Run `sudo usermod -aG docker $USER` and log in again, or use a rootless engine."
    if "context" in detail:
        return "`docker context ls` shows the contexts there are; `docker context use NAME` chooses one."
    if "DOCKER_HOST" in detail:
        return "Start that engine, or unset DOCKER_HOST."
    return "Install Docker (docker.io on Debian) and start it, or set DOCKER_HOST to an engine's socket."


def _ask(address: str) -> Engine:
    address = without_password(address)
    scheme = address.partition("://")[0]
    if scheme != "unix":
        return Engine(False, not_here(address))
    if why := unreachable(address):
        return Engine(False, why)
    import docker
    import requests

    try:
        client = docker.DockerClient(base_url=address, timeout=_TIMEOUT)
        try:
            version, info = client.version(), client.info()
            networks = {network.name for network in client.networks.list()}
        finally:
            client.close()
    except (docker.errors.DockerException, requests.exceptions.RequestException, ValueError) as error:
        return Engine(False, _reason(str(error)))
    return describe(address, version, info, networks)


def unreachable(address: str) -> str | None:
    """Why nothing listens at a Unix socket, asked without the client library, which leaves its own open."""
    if not address.startswith("unix://"):
        return None
    path = address.removeprefix("unix://")
    if not path:
        return not_here(address)
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.settimeout(_TIMEOUT)
            end.connect(path)
    except (OSError, ValueError) as error:
        if isinstance(error, ConnectionRefusedError) and not Path(path).is_socket():
            return f"{one_line(path, 120)} is not a socket"
        return _reason(f"{type(error).__name__}: {error}", path)
    return None


def describe(address: str, version: Mapping[str, Any], info: Mapping[str, Any], networks: set[str]) -> Engine:
    """The engine that answered with these documents of its API; pure.

    version, info: of ``/version`` and ``/info``. networks: the names of its networks.
    """
    parts = [part.get("Name", "") for part in version.get("Components") or ()]
    kind = "Podman" if any("podman" in part.lower() for part in parts) else "Docker"
    rootless = info.get("Rootless") is True or any(
        "rootless" in option for option in info.get("SecurityOptions") or ()
    )
    bridge = kind == "Podman" or "bridge" in networks
    storage, cgroup = info.get("Driver"), info.get("CgroupVersion")
    root = info.get("DockerRootDir")
    words = [
        f"{kind} {version['Version']} on {version.get('Os', '?')}/{version.get('Arch', '?')}",
        f"storage {storage}",
        f"cgroup v{cgroup or '?'}",
        *(["rootless"] if rootless else []),
        *([] if bridge else ["no bridge: containers share the host's network"]),
    ]
    return Engine(
        True,
        ", ".join(words),
        address=address,
        kind=kind,
        version=version["Version"],
        rootless=rootless,
        bridge=bridge,
        storage=storage,
        root=root if root and address.startswith("unix:") and Path(root).is_dir() else None,
        cgroup=cgroup,
    )


def not_here(address: str) -> str:
    """Why an engine that is reached over a network cannot serve: it could not mount the source tree."""
    scheme = address.partition("://")[0] if "://" in address else ""
    if scheme not in ("tcp", "http", "https", "ssh", "npipe", "fd"):
        return f"{one_line(address, 120)} is not an address of an engine's socket (unix:///path)"
    return (
        f"the engine at {one_line(address, 120)} is reached over {scheme}, and may be another machine: "
        f"labkit mounts "
        "the source tree, so it needs an engine's socket on this one (unix:///path)"
    )


def _reason(text: str, path: str = "") -> str:
    if "FileNotFoundError" in text or "No such file" in text:
        return NONE_THERE
    if "too long" in text:
        return "its path is too long for a socket's"
    if "PermissionError" in text or "Permission denied" in text:
        if "podman" in path:
            return f"{path} is root's Podman, not this user's: podman.socket as a user unit starts his own"
        return "this user may not open its socket; membership in the group docker would allow it"
    if "ConnectionRefusedError" in text or "Connection refused" in text:
        if "podman" in path:
            return f"Podman's socket {path} is there, but its podman.socket unit is not started"
        return "its socket is there, but no engine answers behind it"
    if "timed out" in text.lower():
        return f"its socket is there, but nothing answered within {_TIMEOUT} s"
    return f"what answers at its socket is not a container engine ({one_line(text, 120)})"
