"""Where a container engine may answer: as docker's own command decides it, then the usual sockets."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import UsageError
from labkit.files import escaped, read_named

_LIMIT = 1 << 20


@dataclass(frozen=True)
class EngineAddress:
    """An address to try. why: who named it, in a clause; without an address, what is wrong with that."""

    address: str | None
    why: str = ""


def addresses(environ: Mapping[str, str]) -> list[EngineAddress]:
    """The addresses to try, in order; one that somebody named is the only one."""
    if named := environ.get("DOCKER_HOST"):
        return [EngineAddress(named, f"DOCKER_HOST is {without_password(named)}")]
    if context := _context(environ):
        return [context]
    own = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    sockets = ("/var/run/docker.sock", f"{own}/docker.sock", f"{own}/podman/podman.sock")
    return [EngineAddress(f"unix://{path}") for path in (*sockets, "/run/podman/podman.sock")]


def _context(environ: Mapping[str, str]) -> EngineAddress | None:
    """The Docker context in force (docs.docker.com, ``docker context``); None for the default one."""
    folder = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME", "/")) / ".docker")
    name = environ.get("DOCKER_CONTEXT") or _document(folder / "config.json").get("currentContext")
    if not isinstance(name, str) or name in ("", "default"):
        return None
    told = f"the Docker context is {name!r}"
    # docker keeps a context's data below the digest of its name.
    meta = folder / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json"
    try:
        address = _document(meta)["Endpoints"]["docker"]["Host"]
    except (KeyError, TypeError):
        address = None
    if address and isinstance(address, str):
        return EngineAddress(address, f"{told}, at {without_password(address)}")
    wrong = f"its {meta} names no engine" if meta.parent.is_dir() else "there is no such context"
    return EngineAddress(None, f"{told}, and {wrong}")


def without_password(address: str) -> str:
    """An address as it may be shown: on one line."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:…@", escaped(address))


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_named(path, _LIMIT))
    except (UsageError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
