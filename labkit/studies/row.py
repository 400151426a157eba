"""Runs one row where it is told to: in this process's machine, into the row's own folder.

A row is finished when its ``row.json`` stands in its folder, which happens in one step. The folder's lock
keeps two attempts apart. What a killed attempt left is looked at first: where its last cell had ended, it
counts.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import tarfile
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import UnionType
from typing import Any

from labkit import __version__
from labkit.errors import DataError, LabkitError, StorageError
from labkit.files import MOST_FILES, read_below, write_whole
from labkit.runs.execution import Execution
from labkit.runs.guarded import complete, execute_guarded
from labkit.runs.parameters import RUN_DIR
from labkit.runs.record import believed, read_failure, read_results, result_files
from labkit.runs.source import NotebookSource, load_source
from labkit.settings import Settings
from labkit.show.recorded import recorded

ENTRY = "row.json"
NOTEBOOK = "notebook.ipynb"
LOG = "kernel.log"
ROWS = "rows"

_KINDS: dict[str, type | UnionType] = {
    "recorded": dict,
    "registers": dict,
    "parameters": dict,
    "seconds": int | float | None,
    "started": str,
    "cells_run": int,
    "cells": int,
    "output": str | None,
    "output_sha256": str | None,
    "reason": str | None,
    "left_behind": list,
}
_LOOK = 0.1
_ARCHIVE_LIMIT = 256 << 20
_KEPT_STUDIES = 8

_aborted: dict[str, threading.Event] = {}


class RowAborted(LabkitError):
    """The sweep that asked for this row was ended."""


@dataclass(frozen=True)
class RowTask:
    """One row, as it is sent to a worker.

    study: whose row it is. notebook, data: the notebook's path where the sweep was started, and its bytes.
    timeout: seconds a cell may take. deadline: seconds the row may take.
    base: the sweep's folder where the worker shares it; None where it works in its own cache.
    """

    study: str
    key: str
    notebook: str
    data: bytes
    parameters: dict[str, Any]
    wants_run_dir: bool
    timeout: float
    deadline: float
    base: str | None = None
    version: str = field(default=__version__)


def run_row(task: RowTask) -> tuple[dict[str, Any], bytes | None]:
    """Run a row to its end, or take the end that it has had; with its folder where that is not shared.

    Raises:
        StorageError: the disk is full.
        RowAborted: the sweep was ended meanwhile.
    """
    base = Path(task.base) if task.base else _private(task.study)
    folder = base / ROWS / task.key
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_suffix(".lock"), task):
            entry = read_entry(folder)
            if entry is None:
                entry = _finish(task, folder)
        return entry, None if task.base else pack(folder)
    except StorageError:
        _make_room(folder)
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _make_room(folder)
            raise StorageError(
                f"The disk that holds {base} on {platform.node()} is full.",
                "Free some space, and sweep again.",
            ) from error
        raise


def abort(study: str) -> None:
    """End the rows of a sweep that run in this process; they count as not run."""
    _aborted.setdefault(study, threading.Event()).set()


def read_entry(folder: Path) -> dict[str, Any] | None:
    """What became of the row of a folder; None where it is not finished, or its entry is none of labkit's.

    Anybody may have written it, a cell of the row too: no link is followed, no claim of hardware believed.
    """
    try:
        return _entry(json.loads(read_below(folder.parent, f"{folder.name}/{ENTRY}")))
    except (DataError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry whose values are of the kinds that labkit writes.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: one is not.
    """
    if entry["status"] not in ("passed", "failed"):
        raise ValueError("the row is not finished")
    if not all(isinstance(entry[name], kind) for name, kind in _KINDS.items() if name in entry):
        raise TypeError("a value is of another kind than labkit writes")
    if entry.get("failure"):
        read_failure(entry["failure"])
    told = believed(entry.get("platform"), entry.get("trust"), entry.get("accelerator"))
    return {**entry, **told.to_dict()}


def write_entry(folder: Path, entry: dict[str, Any]) -> None:
    """Finish a row, in one step."""
    draft = folder / f".{ENTRY}.{os.getpid()}"
    draft.write_text(json.dumps(entry, indent=1) + "\n")
    draft.replace(folder / ENTRY)


def _private(study: str) -> Path:
    parent = Settings.load().cache_dir / "studies"
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    older = sorted(
        (path for path in parent.iterdir() if path.name != study), key=lambda path: path.stat().st_mtime
    )
    for path in older[: max(0, len(older) - _KEPT_STUDIES + 1)]:
        shutil.rmtree(path, ignore_errors=True)
    return parent / study


@contextlib.contextmanager
def _locked(path: Path, task: RowTask) -> Iterator[None]:
    """Hold the row's lock, which an attempt that is still running elsewhere may have."""
    stop = _aborted.setdefault(task.study, threading.Event())
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stop.wait(_LOOK):
                    raise RowAborted("The sweep was ended.") from None
        yield


def _finish(task: RowTask, folder: Path) -> dict[str, Any]:
    output = folder / NOTEBOOK
    source = _source(task, folder)
    left: tuple[str, ...] = ()
    outcome = complete(source, output) if output.exists() else None
    adopted = outcome is not None
    started, began = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    if outcome is None:
        _clear(folder)
        outcome, left = _execute(task, source, folder)
    names = tuple(result_files(folder))
    reported, versions = read_results(folder, names)
    notebook = _json(output)
    failure = outcome.failure
    entry = {
        "key": task.key,
        "status": "passed" if failure is None else "failed",
        "reason": failure.ename if failure else None,
        "failure": failure.to_dict() if failure else None,
        "recorded": recorded(notebook) if notebook else {},
        "registers": _registers(folder, names),
        **reported.to_dict(),
        "versions": versions,
        "parameters": task.parameters,
        "started": started,
        "seconds": None if adopted else round(time.monotonic() - began, 3),
        "cells_run": outcome.cells_run,
        "cells": outcome.cells,
        "output": NOTEBOOK if notebook else None,
        "output_sha256": hashlib.sha256(output.read_bytes()).hexdigest() if notebook else None,
        "left_behind": list(left),
        "worker": platform.node(),
        "labkit": __version__,
    }
    write_entry(folder, entry)
    return entry


def _execute(task: RowTask, source: NotebookSource, folder: Path) -> tuple[Execution, tuple[str, ...]]:
    stop = _aborted.setdefault(task.study, threading.Event())
    parameters = dict(task.parameters)
    if task.wants_run_dir:
        parameters[RUN_DIR] = str(folder)
    outcome, left = execute_guarded(
        source,
        parameters,
        folder / NOTEBOOK,
        log=folder / LOG,
        scratch=folder,
        timeout=task.timeout,
        deadline=task.deadline,
        cancelled=stop,
    )
    if stop.is_set():
        raise RowAborted("The sweep was ended.")
    return outcome, left


def _source(task: RowTask, folder: Path) -> NotebookSource:
    """The notebook where the sweep was started, if this machine has the same there; else a copy."""
    digest = hashlib.sha256(task.data).hexdigest()
    with contextlib.suppress(LabkitError, OSError):
        source = load_source(Path(task.notebook))
        if source.sha256 == digest:
            return source
    copy = folder.parent.parent / f"source-{digest[:16]}" / Path(task.notebook).name
    if not copy.exists():
        write_whole(copy, task.data)
    return load_source(copy)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _make_room(folder: Path) -> None:
    """Leave to the other rows the space that a row without an end has taken."""
    if read_entry(folder) is None:
        with contextlib.suppress(OSError):
            _clear(folder)


def _registers(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """The registers of the row's first TDVM that has any, by name."""
    for name in names:
        data = _json(folder / name) or {}
        mrtd, rtmr = data.get("mrtd"), data.get("rtmr")
        if isinstance(mrtd, str) and isinstance(rtmr, list) and all(isinstance(word, str) for word in rtmr):
            words = {"mrtd": mrtd, **{f"rtmr{number}": word for number, word in enumerate(rtmr[:4])}}
            return {key: word[:128] for key, word in words.items()}
    return {}


def _json(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def pack(folder: Path) -> bytes:
    """The files of a row's folder as one archive: of large ones what ``unpack`` takes, its entry first."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for path in sorted(folder.rglob("*"), key=lambda path: (path.name != ENTRY, path)):
            # A file's name and its end take some blocks more.
            taken = archive.offset + 8 * tarfile.BLOCKSIZE
            if path.is_file() and not path.is_symlink() and taken + path.stat().st_size < _ARCHIVE_LIMIT:
                archive.add(path, str(path.relative_to(folder)), recursive=False)
    return buffer.getvalue()


def unpack(data: bytes, folder: Path) -> None:
    """Write an archive's files into a row's folder, its entry last.

    Raises:
        DataError: the archive is damaged, leaves the folder, or unpacks to more than ``pack`` packs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _Bounded(fileobj=io.BytesIO(data)) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            members: list[tarfile.TarInfo] = []
            total = 0
            for member in archive:
                total += member.size + tarfile.BLOCKSIZE
                if total > _ARCHIVE_LIMIT or len(members) >= MOST_FILES:
                    raise _too_much()
                if member.isfile():
                    members.append(member)
            for member in sorted(members, key=lambda member: member.name == ENTRY):
                archive.extract(member, folder, filter="data")
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"A worker sent a damaged row: {error}.", "Sweep again.") from error


class _Bounded(gzip.GzipFile):
    """What an archive unpacks to, up to its limit: tarfile reads a long name whole, however long it says."""

    def read(self, size: int | None = -1) -> bytes:
        most = _ARCHIVE_LIMIT - self.tell() + 1
        data = super().read(most if size is None or size < 0 else min(size, most))
        if self.tell() > _ARCHIVE_LIMIT:
            raise _too_much()
        return data


def _too_much() -> DataError:
    return DataError(
        f"A worker sent a row that unpacks to more than {MOST_FILES} files or {_ARCHIVE_LIMIT >> 20} MiB.",
        "Look at that worker, and sweep again.",
    )
