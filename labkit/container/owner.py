"""Whose container is this? Its name says which process owns it; what a dead owner left is removed."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from labkit import process
from labkit.container.engine import connect, find_engine

if TYPE_CHECKING:
    from docker import DockerClient

_PREFIX = "labkit-asterinas"
_NAME = re.compile(rf"{_PREFIX}-(\d+)-(\d+)-(\d+)-[0-9a-f]+")


def new_name() -> str:
    """A name for a container of this process: namespace of process ids, its id, its start, a random end."""
    pid = os.getpid()
    return f"{_PREFIX}-{_namespace()}-{pid}-{_started(pid)}-{secrets.token_hex(4)}"


def is_orphan(name: str) -> bool:
    """The name is of a container whose owner, a process of this namespace, is gone."""
    match = _NAME.fullmatch(name.removeprefix("/"))
    if match is None:
        return False
    namespace, pid, started = (int(number) for number in match.groups())
    return namespace == _namespace() and _started(pid) != started


def sweep(client: DockerClient) -> list[str]:
    """Remove what dead owners left; the names."""
    import docker

    removed = []
    for container in client.api.containers(all=True, filters={"name": _PREFIX}):
        for name in container["Names"]:
            if is_orphan(name):
                try:
                    client.api.remove_container(container["Id"], force=True, v=True)
                except docker.errors.APIError:
                    continue  # somebody else removes it, or has
                removed.append(name.removeprefix("/"))
    return removed


def owned() -> Iterator[tuple[str, int, float]]:
    """Containers whose owner, a process of this namespace, lives: name, its process, seconds since 1970."""
    engine = find_engine()
    if not engine.answers:
        return
    with contextlib.closing(connect(engine, timeout=5)) as client:
        listed = client.api.containers(filters={"name": _PREFIX})
    for container in listed:
        for name in container["Names"]:
            match = _NAME.fullmatch(name.removeprefix("/"))
            if match and int(match[1]) == _namespace() and not is_orphan(name):
                yield name.removeprefix("/"), int(match[2]), float(container["Created"])


def stop(name: str) -> None:
    """End a container; its owner sees it end, and cleans up. One that has ended already is not an error.

    Raises:
        MissingComponent: there is no engine.
    """
    import docker

    with (
        contextlib.closing(connect(find_engine(), timeout=30)) as client,
        contextlib.suppress(docker.errors.NotFound, docker.errors.APIError),
    ):
        client.api.kill(name)


def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (proc_pid_stat(5), field 22); None: there is none."""
    fields = process.status_fields(pid)
    return int(fields[19]) if fields else None
