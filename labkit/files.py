"""The one way to read what a user names or was sent: regular files, bounded, never a surprise.

A path may lead to a device that never ends, to a pipe that never answers, or to a link out of the folder
that it seems to be in. Nothing here waits for a file, follows a link below a folder, or reads more than was
agreed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import DataError, LabkitError, StorageError, UsageError

LARGEST = 256 << 20
"""Bytes of the largest file that is read whole, unless a reader says otherwise."""

MOST_FILES = 20_000
"""How many files and folders a folder that was sent may hold."""

DEEPEST = 32
"""How deep its folders may be nested."""

_DEEPEST_VALUE = 100
_MOST_VALUES = 500_000
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_FOLDER = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW
_PIECE = 1 << 20
_REMEDY = "Take an untouched copy."
_PIPED = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
"""Where a shell puts the pipe that a user made on purpose (`<(…)`, `|`); it has a writer."""
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_LEFT = re.compile(
    r"(?i)(?:^|/)(?:\.DS_Store|\._[^/]*|__MACOSX|Thumbs\.db|desktop\.ini|\.directory|\.ipynb_checkpoints"
    r"|\.nfs[0-9a-f]+|\.~lock\.[^/]*#|\.stfolder|\.Trash-\d+|[^/]*:Zone\.Identifier)(?:/|$)"
)


def read_named(path: Path, limit: int = LARGEST) -> bytes:
    """The bytes of the regular file that a user names; links are followed, for the user chose them.

    What the user's shell pipes to us is read as well.

    Raises:
        UsageError: there is none, it cannot be read, is not a regular file, or has more than ``limit`` bytes.
    """
    try:
        if str(path).startswith(_PIPED):
            with _opened(os.fspath(path), _READ & ~os.O_NONBLOCK) as descriptor:
                return _bounded(descriptor, str(path), limit, UsageError)
        with _opened(os.fspath(path), _READ) as descriptor:
            return _whole(descriptor, str(path), limit, UsageError)
    except (OSError, ValueError) as error:
        raise _unreadable(str(path), error) from error


def from_home(path: Path) -> Path:
    """A path whose leading ``~`` or ``~user`` is the home folder that it stands for.

    Raises:
        UsageError: there is no such user, or no home folder.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"There is no home folder for {printable(path)}.", "Name the folder itself; ./~ is one called ~."
        ) from error


def strict_json(data: bytes) -> Any:
    """A JSON document in which nobody can hide anything: UTF-8, no key twice, no number that JSON has not.

    It is at most 100 deep, and holds no more lists and objects than memory is there for.

    Raises:
        ValueError: it is none; the text is a clause that says what is wrong, in words of ours.
    """
    if crowded(data):
        raise ValueError(f"it holds more than {_MOST_VALUES} lists and objects")
    try:
        text = data.decode("utf-8-sig")
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON, from line {error.lineno}, column {error.colno} on") from error
    except UnicodeDecodeError as error:
        raise ValueError("it is not text in UTF-8") from error
    except RecursionError as error:
        raise ValueError("its values are nested too deeply") from error
    except ValueError as error:
        if isinstance(error, _Refused):
            raise ValueError(str(error)) from error
        raise ValueError("a number in it has too many digits") from error
    require_shallow(document)
    return document


def crowded(data: bytes) -> bool:
    """JSON with more lists and objects than anything of ours has; each takes some thirty times its text."""
    return data.count(b"{") + data.count(b"[") > _MOST_VALUES


def require_shallow(document: Any) -> None:
    """Refuse a JSON document on whose depth something that compares, copies or writes it would break.

    Raises:
        ValueError: it is nested more than 100 deep.
    """
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > _DEEPEST_VALUE:
            raise ValueError("its values are nested too deeply")
        level = [
            inner
            for value in level
            if isinstance(value, list | dict)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]


class _Refused(ValueError):
    """Refused by us, not by the reader of JSON."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys stand in it once: of two values nobody could tell which is meant."""
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _Refused(f"the key {printable(twice)} stands in it twice")
    return found


def _no_number(word: str) -> Any:
    raise _Refused(f"{word} is not a value of JSON")


def check_named(path: Path) -> None:
    """Refuse, without reading it, what a program of ours would only hang on.

    Raises:
        UsageError: there is no such file, it cannot be opened, or it is not a regular file.
    """
    try:
        with _opened(os.fspath(path), _READ) as descriptor:
            _require_regular(descriptor, str(path), UsageError)
    except (OSError, ValueError) as error:
        raise _unreadable(str(path), error) from error


def read_below(folder: Path, name: str, limit: int = LARGEST) -> bytes:
    """The bytes of a regular file below a folder, by its relative name; no link is followed on the way.

    Raises:
        DataError: the name leads out of the folder, or there is no regular file of at most ``limit`` bytes.
    """
    parts = plain_parts(name)
    shown = printable(name)
    try:
        with contextlib.ExitStack() as stack:
            parent = stack.enter_context(_opened(os.fspath(folder), _FOLDER & ~os.O_NOFOLLOW))
            for part in parts[:-1]:
                parent = stack.enter_context(_opened(part, _FOLDER, parent))
            descriptor = stack.enter_context(_opened(parts[-1], _READ | os.O_NOFOLLOW, parent))
            return _whole(descriptor, shown, limit, DataError)
    except OSError as error:
        words = (
            "is missing or no regular file"
            if error.errno in _NOT_THERE
            else f"cannot be read: {error.strerror}"
        )
        raise DataError(f"{shown} {words}.", _REMEDY) from error


_NOT_THERE = (2, 20, 40)
"""ENOENT, ENOTDIR, ELOOP: the last two are what a link on the way gives."""


def write_below(folder: Path, name: str, data: bytes) -> None:
    """Write a file below a folder in one step; no link is followed, folders on the way are made.

    Raises:
        DataError: the name leads out of the folder, or a part of the way is not a folder.
        StorageError: it cannot be written.
    """
    parts = plain_parts(name)
    try:
        with contextlib.ExitStack() as stack:
            parent = stack.enter_context(_opened(os.fspath(folder), _FOLDER & ~os.O_NOFOLLOW))
            for part in parts[:-1]:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=parent)
                parent = stack.enter_context(_opened(part, _FOLDER, parent))
            _place(parent, parts[-1], data, 0o644)
    except OSError as error:
        if error.errno in _NOT_THERE or isinstance(error, IsADirectoryError):
            raise DataError(
                f"{printable(name)} cannot be written: a part of it is not a folder of its own.",
                _REMEDY,
            ) from error
        raise StorageError(
            f"{printable(name)} cannot be written: {error.strerror}.",
            "Free some space, or name another folder.",
        ) from error


def write_whole(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file of our own in one step, and make its folder: it is there as a whole, or as it was before.

    Whatever a process is killed at, and whoever writes the same file at the same moment. ``mode`` is of a
    new file, less the umask.

    Raises:
        OSError: it cannot be written; the caller knows whose it is, and the remedy.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _opened(os.fspath(path.parent), _FOLDER & ~os.O_NOFOLLOW) as parent:
        _place(parent, path.name, data, mode)


def keep_whole(path: Path, data: bytes) -> None:
    """Write a file whose name tells its content, unless it is there as a whole.

    A crash of the machine can leave such a file cut, for its name reached the disk before its content.

    Raises:
        OSError: it cannot be written.
    """
    try:
        if path.stat().st_size == len(data):
            return
    except FileNotFoundError:
        pass
    write_whole(path, data)


def _place(parent: int, name: str, data: bytes, mode: int) -> None:
    """Write a draft into an open folder, and put it in the place of what has this name there."""
    draft = f".{os.urandom(8).hex()}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(draft, flags, mode, dir_fd=parent), "wb") as stream:
            stream.write(data)
        os.replace(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft, dir_fd=parent)
        raise


def plain_parts(name: str) -> list[str]:
    """The parts of a relative name that stays where it is.

    Raises:
        DataError: it is absolute, empty, climbs, or holds what no file of labkit's is called.
    """
    parts = name.split("/") if isinstance(name, str) else [""]
    if any(
        part in ("", ".", "..") or not part.isprintable() or "\\" in part or len(part) > 255 for part in parts
    ):
        raise DataError(f"{printable(name)} is not a name of a file below its folder.", _REMEDY)
    return parts


def printable(name: object) -> str:
    """A file name for people: one line, whatever it holds."""
    shown = escaped(str(name))
    return shown if len(shown) <= 200 else f"{shown[:200]}…"


def escaped(text: str) -> str:
    """Text on one line: whatever would end the line, or lead a terminal, as its escape."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "replace").decode() for char in text
    )


def left_by_others(name: str) -> bool:
    """Whether file managers, unpackers and editors leave files of this name behind."""
    return _LEFT.search(name) is not None


def csv_cell(text: str) -> str:
    """Text as a cell of CSV: what a spreadsheet would take for a formula gets an apostrophe, no number does.

    A carriage return, which the csv module writes bare, would end the row.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.startswith(("=", "+", "-", "@", "\t", "\n")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


@dataclass(frozen=True)
class FolderEntry:
    """Something below a folder: its relative name, and what is not a regular file says what it is instead.

    empty: a folder that holds nothing.
    """

    name: str
    kind: str = ""
    empty: bool = False


def entries(folder: Path, skip: str = "") -> Iterator[FolderEntry]:
    """Every regular file below a folder, and whatever else is neither file nor filled folder.

    skip: a folder directly below that is left out. No link is followed.

    Raises:
        DataError: there are too many, they are nested too deep, or a folder cannot be read.
    """
    count = 0
    waiting = [("", 0)]
    while waiting:
        inside, depth = waiting.pop()
        found = _listed(folder, inside)
        if not found and inside:
            yield FolderEntry(inside, "an empty folder", empty=True)
        deeper = []
        for name, mode in found:
            count += 1
            relative = f"{inside}/{name}" if inside else name
            if relative == skip:
                continue
            if count > MOST_FILES:
                raise DataError(f"There are more than {MOST_FILES} files.", _REMEDY)
            if stat.S_ISDIR(mode):
                if depth + 1 >= DEEPEST:
                    raise DataError(
                        f"Folders are nested more than {DEEPEST} deep: {printable(relative)}.",
                        _REMEDY,
                    )
                deeper.append((relative, depth + 1))
            else:
                yield FolderEntry(relative, "" if stat.S_ISREG(mode) else _kind(mode))
        waiting += reversed(deeper)


def _listed(folder: Path, inside: str) -> list[tuple[str, int]]:
    """Names and modes in one folder, which is reached without following links."""
    try:
        with contextlib.ExitStack() as stack:
            parent = stack.enter_context(_opened(os.fspath(folder), _FOLDER & ~os.O_NOFOLLOW))
            for part in inside.split("/") if inside else ():
                parent = stack.enter_context(_opened(part, _FOLDER, parent))
            with os.scandir(parent) as listing:
                found: list[tuple[str, int]] = []
                for entry in listing:
                    if len(found) > MOST_FILES:
                        break
                    found.append((entry.name, entry.stat(follow_symlinks=False).st_mode))
                return sorted(found)
    except OSError as error:
        raise DataError(
            f"{printable(inside or folder)} cannot be read: {error.strerror}.", _REMEDY
        ) from error


@contextlib.contextmanager
def _opened(name: str, flags: int, parent: int | None = None) -> Iterator[int]:
    descriptor = os.open(name, flags, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _whole(descriptor: int, shown: str, limit: int, refusal: type[LabkitError]) -> bytes:
    _require_regular(descriptor, shown, refusal)
    return _bounded(descriptor, shown, limit, refusal)


def _bounded(descriptor: int, shown: str, limit: int, refusal: type[LabkitError]) -> bytes:
    pieces, left = [], limit + 1
    while left > 0 and (piece := os.read(descriptor, min(left, _PIECE))):
        pieces.append(piece)
        left -= len(piece)
    if left <= 0:
        raise refusal(
            f"{printable(shown)} has more than {limit} bytes, too many for what it is to be.",
            "Give the file that is asked for.",
        )
    return b"".join(pieces)


def _require_regular(descriptor: int, shown: str, refusal: type[LabkitError]) -> None:
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        raise refusal(
            f"{printable(shown)} is {_kind(mode)}, no regular file.",
            "Give a file; copy a stream into one first.",
        )


def _kind(mode: int) -> str:
    return next((word for test, word in _KINDS if test(mode)), "no regular file")


def _unreadable(shown: str, error: OSError | ValueError) -> UsageError:
    reason = (error.strerror or "it cannot be opened") if isinstance(error, OSError) else "it is not a path"
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        reason = "it is a socket or a device, no regular file"
    return UsageError(f"{printable(shown)} cannot be read: {reason}.", "Check the path and its permissions.")
