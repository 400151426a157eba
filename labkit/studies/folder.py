"""The folder of a sweep: whose it is, and that one sweep at a time works in it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from labkit import __version__
from labkit.errors import DataError, StorageError, UsageError
from labkit.studies.row import ROWS
from labkit.studies.table import Design

RECORD = "sweep.json"
LOCK = "lock"

_FORMAT = 1


def holds_sweep(directory: Path) -> bool:
    """Whether a folder is a sweep's."""
    return (directory / RECORD).is_file()


def check_folder(output: Path, design: Design) -> None:
    """See that the folder is new, or a sweep's of this notebook."""
    if output.is_dir() and any(path.name != LOCK for path in output.iterdir()):
        try:
            record = json.loads((output / RECORD).read_bytes())
            known = record["format"] == _FORMAT and record["notebook"] == design.source.name
        except FileNotFoundError:
            raise UsageError(
                f"{output} is there, not empty, and holds no sweep.", "Name a new folder with --output."
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{output / RECORD} is damaged: {error}.", "Name a new folder with --output."
            ) from None
        if not known:
            raise UsageError(
                f"{output} holds a sweep of {record['notebook']}.", "Name another folder with --output."
            )
    elif output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file.", "Name a folder with --output.")


def claim(output: Path, design: Design) -> None:
    """Write down what the folder holds."""
    (output / ROWS).mkdir(exist_ok=True)
    draft = output / f".{RECORD}.{os.getpid()}"
    record = {
        "format": _FORMAT,
        "notebook": design.source.name,
        "path": str(design.source.path),
        "kernel": design.source.kernel,
        "sha256": design.source.sha256,
        "labkit": __version__,
        "columns": list(design.columns),
        "rows": [{"row": row.number, "key": row.key, "given": row.given} for row in design.rows],
    }
    draft.write_text(json.dumps(record, indent=1) + "\n")
    draft.replace(output / RECORD)


@contextlib.contextmanager
def naming_full_disk(output: Path) -> Iterator[None]:
    """Say which disk it is that has no room.

    Raises:
        StorageError: the disk that holds the folder is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageError(
            f"The disk that holds {output} is full.",
            "Free some space, and give the same command again: rows that are done stay done.",
        ) from error


@contextlib.contextmanager
def locked(output: Path, on_progress: Callable[[str], None]) -> Iterator[None]:
    """Be the only sweep on a folder; the lock ends with whoever holds it, killed or not."""
    output.mkdir(parents=True, exist_ok=True)
    with (output / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            on_progress(
                f"Another sweep (process {lock.read(20).strip() or '?'}) is at work in {output}; waiting."
            )
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
