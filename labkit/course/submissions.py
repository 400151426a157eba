"""Submissions as they lie on the disk: folders and zip files, read bounded and never unpacked."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import math
import os
import re
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from labkit.course._given import given_json
from labkit.course.course import parse_time, refusing
from labkit.course.exercises import NAMES, exercise
from labkit.course.model import ANSWERS, CHALLENGE, EVIDENCE, canonical
from labkit.errors import LabkitError, UsageError

MANIFEST = "submission.json"
_TIMESTAMP = "timestamp.txt"
_MOST_FILES = 400
_MOST_BYTES = 24 << 20
_LARGEST_ZIP = 2 * _MOST_BYTES
_DEEPEST = 4
_ENTRY = b"PK\x01\x02"  # begins what a zip says at its end of each file and folder
# zipfile passes on what its decompressors say.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    ValueError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
)
_SKIP = frozenset({"__pycache__", ".ipynb_checkpoints", ".git"})
_MARKER = (CHALLENGE, ANSWERS)


@dataclass(frozen=True)
class Submission:
    """What one student handed in. problem: why it cannot be read, in a sentence; empty where it can.

    submitted: seconds since 1970, as the submission says; None where it does not. placed: where it lies says
    whose it is; otherwise only its own content does, which anybody may write. folder: the name of a folder
    around it that is no student's: learning platforms name them after people, in their own way.
    """

    student: str
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    submitted: float | None = None
    problem: str = ""
    placed: bool = True
    folder: str = ""

    @property
    def misdated(self) -> bool:
        """It has a time stamp, and that is none."""
        return self.submitted is None and not {_TIMESTAMP, MANIFEST}.isdisjoint(self.files)

    @property
    def digest(self) -> str:
        """What the submission is, as a hash over names and contents."""
        parts = [[name, hashlib.sha256(self.files[name]).hexdigest()] for name in sorted(self.files)]
        return hashlib.sha256(canonical([self.student, parts, self.problem])).hexdigest()


class Unreadable(Exception):
    """A submission that cannot be read, and why in a sentence."""


def find_submissions(place: Path, assignment: str, students: Iterable[str]) -> list[Submission]:
    """The submissions for an assignment below ``place``, one for each student, in the order of names.

    ``ID/NAME/``, ``ID/NAME.zip``, ``ID/*.zip``, ``*.zip`` and ``SOMEBODY/*.zip`` are looked at; of several by
    one student the latest counts. Work on another assignment does not, and is told of unless its file has
    that one's name. One that is a student's only by what it says itself does not count beside
    one that lies where that student's work lies; where two people say that they are one student, nobody is.

    Raises:
        UsageError: there is no such place.
    """
    if not place.exists():
        raise UsageError(f"There is no {place}.", "Name the folder with the submissions.")
    roster = {_same(student): student for student in students}
    known = set(roster.values())
    found: dict[str, Submission] = {}
    said: dict[str, dict[str, Submission]] = {}  # by student, then by the folder of who says so
    for submission in _all(place, assignment, roster):
        claims = said.setdefault(submission.student, {}) if submission.folder else found
        key = submission.folder or submission.student
        if key not in claims or _better(submission, claims[key]):
            claims[key] = submission
    for student, claims in said.items():
        if student in found or student not in known:
            found |= {folder: replace(claim, student=folder) for folder, claim in claims.items()}
        elif len(claims) == 1:
            (found[student],) = claims.values()
        else:
            people = " and ".join(map(repr, sorted(claims)))
            found[student] = Submission(student, problem=f"{people} both say that they are this student")
    return [found[student] for student in sorted(found)]


def _better(one: Submission, other: Submission) -> bool:
    ranks = [(found.placed, not found.problem, found.submitted or 0.0) for found in (one, other)]
    return ranks[0] > ranks[1]


def _same(name: str) -> str:
    """Names that file systems do not keep apart: large and small letters, and ways to write an accent."""
    return unicodedata.normalize("NFC", name).casefold()


def _all(place: Path, assignment: str, roster: Mapping[str, str]) -> Iterator[Submission]:
    if place.is_file():
        yield from _from_zip(place, assignment, roster, None)
        return
    for entry in sorted(place.iterdir()):
        if entry.is_symlink() or entry.name.startswith("."):
            continue
        if entry.is_file() and entry.suffix.lower() == ".zip":
            yield from _from_zip(entry, assignment, roster, None)
        elif entry.is_file() and (owner := roster.get(_same(_stem(entry, assignment)))):
            yield Submission(owner, problem=f"{entry.name} is neither a zip file nor a folder")
        elif entry.is_dir():
            student = roster.get(_same(entry.name), entry.name)
            known = _same(entry.name) in roster
            try:
                yield from _in_folder(entry, assignment, student)
                yield from _zips_in(entry, assignment, roster, student if known else None)
            except OSError as error:
                yield Submission(student, problem=f"{entry.name} cannot be read: {error.strerror}")


def _in_folder(folder: Path, assignment: str, student: str) -> Iterator[Submission]:
    inner = folder / assignment
    if inner.is_dir() and not inner.is_symlink():
        yield _from_folder(inner, student)
    elif any((folder / name).is_file() for name in (*_MARKER, f"{assignment}.ipynb")):
        found = _from_folder(folder, student)
        other = _other(found.files, assignment)
        yield Submission(student, problem=f"{folder.name} is work on {other}") if other else found


def _zips_in(
    folder: Path, assignment: str, roster: Mapping[str, str], student: str | None
) -> Iterator[Submission]:
    """The zip files in a student's folder; in anybody else's, whose they are is only what they say."""
    for entry in sorted(folder.glob("*.zip")):
        if not entry.is_file() or entry.is_symlink():
            continue
        if student is not None:
            yield from _from_zip(entry, assignment, roster, student)
            continue
        for claim in _from_zip(entry, assignment, {}, None):
            owner = folder.name if claim.problem else roster.get(_same(claim.student), folder.name)
            yield replace(claim, student=owner, folder=folder.name)


def _from_folder(folder: Path, student: str) -> Submission:
    try:
        files = read_folder(folder)
    except Unreadable as error:
        return Submission(student, problem=str(error))
    return Submission(student, files, _submitted(files))


def read_folder(folder: Path) -> dict[str, bytes]:
    """The files below a folder by their path in it; links are not followed.

    Raises:
        Unreadable: there are too many, they are too large, or one cannot be read.
    """
    files: dict[str, bytes] = {}
    total = 0
    for path in _walk(folder, 0):
        if len(files) >= _MOST_FILES:
            raise Unreadable(f"it has more than {_MOST_FILES} files")
        try:
            data = _read(path, _MOST_BYTES + 1)
        except OSError as error:
            raise Unreadable(f"{path.name} cannot be read: {error.strerror}") from error
        total += len(data)
        if total > _MOST_BYTES:
            raise Unreadable(f"it has more than {_MOST_BYTES >> 20} MiB")
        files[path.relative_to(folder).as_posix()] = data
    return files


def _read(path: Path, most: int) -> bytes:
    """No link is followed and no pipe is waited for, whatever lies there by now."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        return stream.read(most)


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise Unreadable(f"{folder.name} cannot be read: {error.strerror}") from error
    for entry in entries:
        if entry.is_symlink() or entry.name in _SKIP:
            continue
        if entry.is_file():
            yield entry
        elif entry.is_dir() and depth < _DEEPEST:
            yield from _walk(entry, depth + 1)


def _stem(path: Path, assignment: str) -> str:
    """The name of a file without what stands around an id in it."""
    # A browser that saves a second file of a name puts a number behind it; no id has parentheses.
    return re.sub(r" ?\([0-9]+\)$", "", path.stem).removeprefix(f"{assignment}-")


def _other(files: Mapping[str, bytes], assignment: str) -> str:
    """The assignment that this is work on, where it is another one."""
    try:
        named = str(given_json(files[CHALLENGE])["assignment"])
    except (ValueError, KeyError, TypeError):
        return ""
    return named if named in NAMES.keys() - {assignment} else ""


def _from_zip(
    path: Path, assignment: str, roster: Mapping[str, str], student: str | None
) -> Iterator[Submission]:
    """A zip's owner is whose folder it lies in, else whom its name or its content names."""
    stem = _stem(path, assignment)
    owner = student or roster.get(_same(stem))
    placed = owner is not None
    try:
        data = _read(path, _LARGEST_ZIP + 1)
        if len(data) > _LARGEST_ZIP:
            raise Unreadable(f"it has more than {_LARGEST_ZIP >> 20} MiB")
        named, files = read_zip(data, assignment)
    except (Unreadable, OSError) as error:
        yield Submission(owner or stem, problem=f"{path.name}: {error}", placed=placed)
        return
    owner = owner or (roster.get(_same(named), named) if named else stem)
    other = _other(files, assignment)
    if not other:
        yield Submission(owner, files, _submitted(files), placed=placed)
    elif other not in path.stem:  # the others lie here until their assignment is graded
        yield Submission(owner, problem=f"{path.name} is work on {other}", placed=placed)


def read_zip(data: bytes, assignment: str) -> tuple[str | None, dict[str, bytes]]:
    """The student that a zip names, and its files without the ``ID/NAME/`` before them.

    Raises:
        Unreadable: it is not a zip, too large, or has names that lead out of it.
    """
    files: dict[str, bytes] = {}
    # Counted before zipfile makes an object of each, of which there may be a million.
    if data.count(_ENTRY) > 10 * _MOST_FILES:
        raise Unreadable(f"it has far more than {_MOST_FILES} files")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [info for info in archive.infolist() if not info.is_dir()]
            if len(entries) > _MOST_FILES or sum(info.file_size for info in entries) > _MOST_BYTES:
                raise Unreadable(f"it unpacks to more than {_MOST_FILES} files or {_MOST_BYTES >> 20} MiB")
            for info in entries:
                parts = PurePosixPath(info.filename).parts
                if not parts or parts[0] == "/" or ".." in parts or "\\" in info.filename:
                    raise Unreadable(f"a name in it leads elsewhere: {info.filename[:80]!r}")
                if _SKIP.isdisjoint(parts):
                    with archive.open(info) as stream:
                        files["/".join(parts)] = stream.read(_MOST_BYTES)
    except _DAMAGED as error:
        raise Unreadable(f"it is not a zip file, or a damaged one ({error})") from error
    prefix = _prefix(files, assignment)
    student = PurePosixPath(prefix).parts[-2] if len(PurePosixPath(prefix).parts) > 1 else None
    return student, {name.removeprefix(prefix): files[name] for name in files if name.startswith(prefix)}


def _prefix(files: Mapping[str, bytes], assignment: str) -> str:
    """The folder inside a zip where the submission is, with a slash at its end."""
    places = {
        name.removesuffix(marker) for name in files for marker in _MARKER if name.endswith(f"/{marker}")
    }
    places |= {"" for marker in _MARKER if marker in files}
    places |= {
        name.removesuffix(f"{assignment}.ipynb") for name in files if name.endswith(f"{assignment}.ipynb")
    }
    named = [place for place in places if place.endswith(f"{assignment}/")]
    return min(named or places or [""], key=lambda place: (place.count("/"), place))


def _submitted(files: Mapping[str, bytes]) -> float | None:
    try:
        if _TIMESTAMP in files:
            return parse_time(files[_TIMESTAMP].decode("utf-8")[:100])
        if MANIFEST in files:
            moment = float(given_json(files[MANIFEST])["submitted"])
            return moment if math.isfinite(moment) else None
    except (LabkitError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return None


@dataclass(frozen=True)
class Packed:
    """A submission that was written. unanswered: questions whose answer has to be written, and is not."""

    file: Path
    student: str
    assignment: str
    files: tuple[str, ...]
    answered: int
    unanswered: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        return {
            "file": str(self.file),
            "student": self.student,
            "assignment": self.assignment,
            "files": list(self.files),
            "answered": self.answered,
            "unanswered": list(self.unanswered),
        }

    def __str__(self) -> str:
        count = f"{self.answered} answer{'s' * (self.answered != 1)}"
        line = f"{self.file}: {count} of {self.student} to {self.assignment}, {len(self.files)} files."
        if self.answered and self.unanswered:
            return f"{line}\nNot answered yet: {', '.join(self.unanswered)}. You may hand in again."
        if self.answered:
            return line
        return f"{line}\nNothing is answered in it yet: run your notebook from the top, then hand in again."


def pack(work: Path, assignment: str, output: Path | None = None, now: float | None = None) -> Packed:
    """Write a student's work folder into a zip that ``grade`` takes.

    Raises:
        UsageError: the folder is not that of a student's assignment, or is too large.
        StorageError: the zip cannot be written.
    """
    folder = next(
        (place for place in (work, work / assignment) if _owner(place, assignment) is not None), None
    )
    if folder is None:
        raise UsageError(
            f"{work.absolute()} is not the assignment {assignment}: it has no {CHALLENGE} for it.",
            "Go to the folder that your teacher gave you, or name it with --work.",
        )
    student = _owner(folder, assignment)
    assert student is not None
    try:
        files = {
            name: data
            for name, data in read_folder(folder).items()
            if name != MANIFEST and not name.endswith(".zip")
        }
    except Unreadable as error:
        raise UsageError(
            f"{folder} cannot be handed in: {error}.", "Leave out what you were not asked for."
        ) from error
    moment = time.time() if now is None else now
    files[MANIFEST] = canonical(
        {
            "format": "labkit-submission/1",
            "student": student,
            "assignment": assignment,
            "submitted": moment,
            "time": datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds"),
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        },
        indent=1,
    )
    target = output or Path(f"{assignment}-{student}.zip")
    with refusing(target):
        draft = target.with_name(f".{target.name}.part")
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(files):
                archive.writestr(f"{student}/{assignment}/{name}", files[name])
        draft.replace(target)
    return Packed(target, student, assignment, tuple(sorted(files)), *_answered(files, assignment))


def assignment_in(work: Path) -> str:
    """The assignment whose folder this is.

    Raises:
        UsageError: it is none's.
    """
    try:
        return str(given_json((work / CHALLENGE).read_bytes())["assignment"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{work.absolute()} is not the folder of an assignment: it has no {CHALLENGE}.",
            "Go to the folder that your teacher gave you, or name it with --work.",
        ) from error


def _owner(folder: Path, assignment: str) -> str | None:
    try:
        document = json.loads((folder / CHALLENGE).read_bytes())
        return str(document["student"]) if document["assignment"] == assignment else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _answered(files: Mapping[str, bytes], assignment: str) -> tuple[int, tuple[str, ...]]:
    """How many answers there are, and the questions without one."""
    try:
        given = json.loads(files[ANSWERS])["answers"]
        count = sum(value not in (None, "", "?", [], {}) for value in given.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        given, count = {}, sum(name.startswith(f"{EVIDENCE}/quote") for name in files)
    questions = exercise(assignment).questions
    return count, tuple(asked.key for asked in questions if asked.form.empty(given.get(asked.key)))
