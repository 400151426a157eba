"""Is there a container engine, which one, what can it do: asked over its API, with Docker's own client."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import MissingComponent

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
    """Describe the engine that ``DOCKER_HOST`` or a usual socket leads to; starts nothing.

    The usual sockets are those of Docker, rootless Docker and Podman, in this order.
    """
    reasons = []
    for address in _addresses(os.environ if environ is None else environ):
        found = _ask(address)
        if found.answers:
            return found
        reasons.append(found.detail)
    telling = [reason for reason in reasons if reason != NONE_THERE]
    return Engine(False, telling[0] if telling else NONE_THERE)


def connect(engine: Engine, timeout: float = 60) -> DockerClient:
    """A client of the engine; ``timeout`` in seconds for one answer.

    Raises:
        MissingComponent: there is no engine.
    """
    import docker

    if engine.address is None:
        raise MissingComponent(
            f"There is no container engine: {engine.detail}.",
            "Install Docker (docker.io on Debian) and start it, or set DOCKER_HOST to an engine's socket.",
        )
    return docker.DockerClient(base_url=engine.address, timeout=timeout)


def _addresses(environ: Mapping[str, str]) -> list[str]:
    if named := environ.get("DOCKER_HOST"):
        return [named]
    own = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    sockets = ("/var/run/docker.sock", f"{own}/docker.sock", f"{own}/podman/podman.sock")
    return [f"unix://{path}" for path in (*sockets, "/run/podman/podman.sock")]


def _ask(address: str) -> Engine:
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
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.settimeout(_TIMEOUT)
            end.connect(address.removeprefix("unix://"))
    except (OSError, ValueError) as error:
        return _reason(f"{type(error).__name__}: {error}")
    return None


def describe(address: str, version: Mapping[str, Any], info: Mapping[str, Any], networks: set[str]) -> Engine:
    """The engine that answered with these documents of its API; pure.

    version, info: of ``/version`` and ``/info``. networks: the names of its networks.
    """
    parts = [part.get("Name", "") for part in version.get("Components") or ()]
    kind = "Podman" if any("podman" in part.lower() for part in parts) else "Docker"
    rootless = any("rootless" in option for option in info.get("SecurityOptions") or ())
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


def _reason(text: str) -> str:
    if "FileNotFoundError" in text or "No such file" in text:
        return NONE_THERE
    if "PermissionError" in text or "Permission denied" in text:
        return "this user may not open its socket; membership in the group docker would allow it"
    if "ConnectionRefusedError" in text or "Connection refused" in text:
        return "its socket is there, but no engine answers behind it"
    if "timed out" in text.lower():
        return f"its socket is there, but nothing answered within {_TIMEOUT} s"
    return text.splitlines()[0][:200]
