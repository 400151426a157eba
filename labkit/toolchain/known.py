"""What was found out about a file, by reading or running it: it holds as long as the file is the same."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from hashlib import file_digest
from pathlib import Path

from labkit.files import write_whole
from labkit.toolchain.toolchain import Program

_KEPT = 100
_SETTLED = 2.0
"""Seconds for which a file was left alone before its answer is kept: its clock may be a coarse one."""


class Known:
    """Answers about files, kept in a folder of the cache.

    A file is the same one if device, inode, size, and the times of its content and of its inode are the same;
    no program can set the last of these.
    """

    def __init__(self, folder: Path) -> None:
        """``folder`` need not exist; where it cannot be written, nothing is kept."""
        self._path = folder / "known.json"

    def digest(self, path: Path) -> str:
        """The SHA-256 of a file, in hex.

        Raises:
            OSError: it cannot be read.
        """
        return self.ask("sha256", path, lambda: _digest(path))

    def version(self, program: Program) -> str:
        """What a program says of its version, whole."""
        what = " ".join(["version", *program.words, *(f"{name}={program.env[name]}" for name in program.env)])
        return self.ask(what, program.path, lambda: program.version_text)

    def ask(self, what: str, path: Path, find: Callable[[], str]) -> str:
        """The answer to ``what`` about the file, from the last time or from ``find``.

        Raises:
            OSError: there is no such file.
        """
        file = path.resolve()
        key, now = f"{what} {file}", file_identity(file)
        known = self._read()
        match known.get(key):
            case [list(then), str(answer)] if tuple(then) == now:
                return answer
        answer = find()
        *_, written, changed = now
        if max(written, changed) < (time.time() - _SETTLED) * 1e9 and file_identity(file) == now:
            self._write({**self._read(), key: [now, answer]})
        return answer

    def _read(self) -> dict[str, object]:
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(self._path.read_bytes())
            if isinstance(known, dict):
                return known
        return {}

    def _write(self, known: dict[str, object]) -> None:
        kept = dict(list(known.items())[-_KEPT:])
        with contextlib.suppress(OSError):
            write_whole(self._path, json.dumps(kept).encode(), 0o600)


def file_identity(path: Path) -> tuple[int, ...]:
    """What is another one for another file or content: device, inode, size, and the times of both (ns).

    Raises:
        OSError: there is no such file.
    """
    about = path.stat()
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
