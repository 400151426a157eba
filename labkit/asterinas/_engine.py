"""Is there a container engine, and which: asked over its API, with Docker's own client library."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

_TIMEOUT = 5
"""Seconds to wait for an answer."""


@dataclass(frozen=True)
class Engine:
    """A container engine, or the reason why none answers."""

    answers: bool
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """The engine as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        return f"Container engine: {self.detail}" if self.answers else f"No container engine: {self.detail}"


def find_engine() -> Engine:
    """Ask the engine that ``DOCKER_HOST`` or the usual socket names for its version; starts nothing."""
    import docker

    try:
        client = docker.from_env(timeout=_TIMEOUT)
        with_version = client.version()
        client.close()
    except docker.errors.DockerException as error:
        return Engine(False, _reason(str(error)))
    return Engine(True, f"{with_version['Version']} on {with_version['Os']}/{with_version['Arch']}")


def _reason(text: str) -> str:
    if "FileNotFoundError" in text or "No such file" in text:
        return "nothing listens at the usual socket"
    if "PermissionError" in text or "Permission denied" in text:
        return "this user may not open its socket; membership in the group docker would allow it"
    if "ConnectionRefusedError" in text or "Connection refused" in text:
        return "its socket is there, but no engine answers behind it"
    return text.splitlines()[0][:200]
