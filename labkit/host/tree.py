"""Reads of a file tree that stands for a host: bounded, never written to, links kept inside the tree."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from labkit.host.model import Fact, Missing, Value

_LIMIT = 1 << 16
_MAX_LINKS = 16


class Tree:
    """A host's file system, as ``/`` or as a copy of parts of it under some folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.live = root.resolve() == Path("/")

    def locate(self, path: str) -> Path:
        """Where ``path`` of the host stands here; in a copy, absolute links stay inside the copy."""
        if self.live:
            return Path(path)
        parts, done, links = path.strip("/").split("/"), self.root, 0
        while parts:
            part = parts.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                done = done.parent if done != self.root else done
                continue
            step = done / part
            try:
                target = step.readlink()
            except OSError:
                done = step
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            done = self.root if target.is_absolute() else done
            parts = [*str(target).split("/"), *parts]
        return done

    def read(self, path: str, limit: int = _LIMIT) -> str:
        """The first ``limit`` bytes of a regular file or kernel file, as text.

        Raises:
            OSError: it cannot be read, or is a device, pipe or socket.
        """
        return self.read_bytes(path, limit).decode("utf-8", "replace")

    def read_bytes(self, path: str, limit: int = _LIMIT) -> bytes:
        """The first ``limit`` bytes of a regular file; raises OSError as `read` does."""
        where = self.locate(path)
        descriptor = os.open(where, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            return stream.read(limit)

    def exists(self, path: str) -> bool:
        """Whether there is anything of that name."""
        try:
            return self.locate(path).exists()
        except OSError:
            return False

    def names(self, path: str) -> list[str]:
        """The sorted names in a folder; empty where it cannot be listed."""
        try:
            return sorted(entry.name for entry in self.locate(path).iterdir())
        except OSError:
            return []

    def fact(self, path: str, anchor: str, limit: int = _LIMIT) -> Fact:
        """The stripped text of a small file as a fact.

        Absent means: the file is not there although ``anchor`` is. Without the anchor nobody can tell.
        """
        try:
            raw = self.read(path, limit).strip()
        except OSError as error:
            return self.missing(path, anchor, error)
        return Fact(path, raw, raw)

    def presence(self, path: str, anchor: str) -> Fact:
        """Whether there is such a path, as a fact; unknown without the anchor."""
        if self.exists(path):
            return Fact(path, True, "present")
        if self.exists(anchor):
            return Fact(path, False, "not there")
        return Fact(path, missing=Missing.UNKNOWN, why=f"there is no {anchor} here")

    def missing(self, path: str, anchor: str, error: OSError) -> Fact:
        """The fact that could not be read, with the reason."""
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            if self.exists(anchor):
                return Fact(path, missing=Missing.ABSENT, why="no such file")
            return Fact(path, missing=Missing.UNKNOWN, why=f"there is no {anchor} here")
        state = Missing.DENIED if error.errno in (errno.EACCES, errno.EPERM) else Missing.UNKNOWN
        return Fact(path, missing=state, why=error.strerror or str(error))


def switch(fact: Fact) -> Fact:
    """A kernel parameter's text as a truth value; anything else than Y, N, 1, 0 becomes unknown."""
    if not isinstance(fact.value, str):
        return fact
    value: Value | None = {"Y": True, "1": True, "N": False, "0": False}.get(fact.value)
    if value is None:
        return Fact(fact.source, raw=fact.raw, missing=Missing.UNKNOWN, why="neither Y nor N")
    return Fact(fact.source, value, fact.raw)
