"""A course on the disk: its name, its secret seed, its roster; nothing else is needed to grade."""

from __future__ import annotations

import csv
import io
import os
import re
import secrets
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labkit.course.model import canonical
from labkit.errors import DataError, StorageError, UsageError
from labkit.files import printable, read_named, strict_json, write_whole
from labkit.measure.wrapping import plain_text

COURSE_VARIABLE = "LABKIT_COURSE"
"""The environment variable that names the course of this shell."""

_FILE, _SEED, _ROSTER = "course.json", "seed", "roster.csv"
_ID = re.compile(r"\w[\w.@+-]*")
_LONGEST_ID = 64
_LARGEST = 4 << 20
_ALIKE = str.maketrans("аеорсухіјѕһԁԛԝвкмнтαικνορτυχ", "aeopcyxijshdqwbkmhtaikvoptux")
_DELIMITERS = ",;\t"
_AGAIN = "Take it out; `labkit assignment release` writes it anew."
_NBGRADER = """\
# nbgrader runs in this folder: its settings for labkit's assignments.
c = get_config()
c.CourseDirectory.root = "."
c.CourseDirectory.course_id = {course!r}
# What stands in the place of a solution; `bash` is the language of the kernel tdvm.
c.ClearSolutions.code_stub = {{"python": "# YOUR CODE HERE", "bash": "# YOUR CODE HERE"}}
# Boots and hidden checks take longer than ordinary cells.
c.ExecutePreprocessor.timeout = 300
"""


@dataclass(frozen=True)
class Course:
    """A course. ``seed`` decides every variant: who has it has all right answers.

    due: by assignment, seconds since 1970 after which a submission is late. released: by assignment, when it
    was released first.
    """

    folder: Path
    name: str
    identity: str
    seed: bytes = field(repr=False)
    students: tuple[str, ...] = ()
    due: dict[str, float] = field(default_factory=dict)
    released: dict[str, float] = field(default_factory=dict)

    @property
    def notebooks(self) -> Path:
        """Where the assignments' notebooks are kept as they are released."""
        return self.folder / "assignments"

    def to_dict(self) -> dict[str, Any]:
        """The course for programs; never its seed."""
        return {
            "course": self.name,
            "id": self.identity,
            "folder": str(self.folder),
            "students": len(self.students),
            "due": self.due,
        }

    def __str__(self) -> str:
        count = len(self.students)
        return (
            f"Course {self.name}: {count} student{'s' * (count != 1)}, in {self.folder}.\n"
            f"Its seed is {self.folder / _SEED}: keep it from students, and keep a copy."
        )

    def set_due(self, assignment: str, due: float) -> Course:
        """Write down until when an assignment is to be handed in; the course with that."""
        self._write_moment("due", assignment, due)
        return replace(self, due={**self.due, assignment: due})

    def set_released(self, assignment: str, moment: float) -> None:
        """Write down when an assignment was released first."""
        self._write_moment("released", assignment, moment)

    def _write_moment(self, kind: str, assignment: str, moment: float) -> None:
        document = _document(self.folder / _FILE)
        document.setdefault(kind, {})[assignment] = moment
        write_whole(self.folder / _FILE, canonical(document, indent=1))


def course_folder(given: Path | None) -> Path:
    """The folder that was named, else that of ``LABKIT_COURSE``, else the current one."""
    return given or Path(os.environ.get(COURSE_VARIABLE) or ".")


def init_course(roster: Path, folder: Path, column: str = "id") -> Course:
    """Make a course in ``folder``, or give an existing one another roster; its seed stays.

    column: the one of the roster that holds the ids.

    Raises:
        UsageError: the roster cannot be read.
        DataError: it has no such column, an id twice, or one that is not a name for a folder.
        StorageError: the folder cannot be written.
    """
    students = read_roster(roster, column)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / _FILE).exists():
            name = folder.absolute().name or "course"
            if not (folder / _SEED).exists():
                write_whole(folder / _SEED, f"{secrets.token_hex(32)}\n".encode(), mode=0o600)
            document = {"format": "labkit-course/1", "name": name, "id": secrets.token_hex(8)}
            write_whole(folder / _FILE, canonical(document, indent=1))
        if not (folder / "nbgrader_config.py").exists():
            name = _document(folder / _FILE)["name"]
            write_whole(folder / "nbgrader_config.py", _NBGRADER.format(course=name).encode())
        rows = "".join(f"{student}\n" for student in ["id", *students])
        write_whole(folder / _ROSTER, rows.encode())
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written: {error.strerror}.", "Name another folder with --course."
        ) from error
    return open_course(folder)


def open_course(folder: Path) -> Course:
    """The course in a folder.

    Raises:
        UsageError: there is none, or its seed cannot be read.
        DataError: a file of it is damaged, or others can read its seed.
    """
    if not (folder / _FILE).is_file():
        raise UsageError(
            f"There is no course in {folder.absolute()}.",
            "Make one with `labkit course init ROSTER.csv --course DIR`, or name it with --course DIR.",
        )
    document = _document(folder / _FILE)
    seed_file = folder / _SEED
    try:
        if seed_file.stat().st_mode & 0o077:
            raise DataError(f"Others can read the seed {seed_file}.", f"Run: chmod 600 {seed_file}")
        seed = bytes.fromhex(seed_file.read_text().strip())
    except OSError as error:
        raise UsageError(
            f"The seed of the course, {seed_file}, cannot be read: {error.strerror}.",
            "Only its teacher can; students use `labkit grade --self`.",
        ) from error
    except ValueError:
        seed = b""
    if len(seed) < 16:
        raise DataError(f"The seed {seed_file} is damaged.", "Restore it from your copy.")
    return Course(
        folder,
        str(document["name"]),
        str(document["id"]),
        seed,
        read_roster(folder / _ROSTER),
        document.get("due", {}),
        document.get("released", {}),
    )


def read_roster(path: Path, column: str = "id") -> tuple[str, ...]:
    """The ids of a roster, in its order; what stands in its other columns may be in any encoding.

    Raises:
        UsageError: the file cannot be read.
        DataError: it has no such column, an id twice, or one that is not a name for a folder.
    """
    text = plain_text(read_named(path, _LARGEST)).decode(errors="surrogateescape")
    ids = _ids(path, text, column)
    if any("\udc80" <= char <= "\udcff" for student in ids for char in student):
        raise DataError(f"The ids in {path} are not text in UTF-8.", "Save it as CSV (UTF-8).")
    if not ids:
        raise DataError(f"{path} names no student.", "Write one id on each line.")
    seen: dict[str, str] = {}
    for student in ids:
        # Many scripts write vowels and accents as marks of their own.
        letters = "".join(char for char in student if unicodedata.category(char) not in ("Mn", "Mc"))
        if not _ID.fullmatch(letters) or len(student) > _LONGEST_ID:
            raise DataError(
                f"The id {student[:80]!r} in {path} cannot be the name of a folder.",
                "Use letters, digits and . _ @ + - (at most 64).",
            )
        # Folders of some file systems do not keep A and a apart, and people not what looks the same.
        if (other := seen.get(_looks(student))) is not None:
            same = "stands twice" if student.casefold() == other.casefold() else f"looks like {other!r}"
            raise DataError(f"The id {student!r} {same} in {path}.", "Give each student an id.")
        seen[_looks(student)] = student
    return tuple(ids)


def _ids(path: Path, text: str, column: str) -> list[str]:
    """What stands in a column, whatever separates the columns and ends the lines; its letters composed (NFC).

    Raises:
        DataError: there is none, there are two, or a quote was not closed, behind which lines are lost.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub(r"\Asep=.\n", "", text)  # Excel's own first line
    wanted = _heading(column)
    tables = []
    for delimiter in _DELIMITERS:
        # A line's quotes are read as they are by a delimiter that is not the table's.
        with suppress(csv.Error):
            tables.append(list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)))
    heads = [list(map(_heading, table[0])) if table else [] for table in tables]
    found = [(head, table[1:]) for head, table in zip(heads, tables, strict=True) if wanted in head]
    if not found and len(tables) < len(_DELIMITERS):
        raise DataError(
            f"{path} is not a CSV file: a quote in it is not closed, or a cell has no end.",
            "Save it as CSV (UTF-8).",
        )
    if not found:
        names = max((table[0] for table in tables if table), key=len, default=[])
        there = ", ".join(printable(name.strip())[:40] for name in names[:12])
        raise DataError(
            f"{path} has no column `{column}`; its first line names: {there}.",
            "Say which column holds the ids: --column NAME.",
        )
    head, rows = max(found, key=lambda pair: len(pair[0]))
    if head.count(wanted) > 1:
        raise DataError(f"{path} has two columns `{column}`.", "Leave one of them.")
    at = head.index(wanted)
    ids = [row[at].strip() for row in rows if len(row) > at]
    return [unicodedata.normalize("NFC", student) for student in ids if student]


def _heading(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def _looks(name: str) -> str:
    """Names that look the same, as one: wide and joined letters, and Greek and Cyrillic ones like Latin."""
    return unicodedata.normalize("NFKC", name).casefold().translate(_ALIKE)


def parse_time(text: str) -> float:
    """A moment in ISO 8601, or seconds since 1970, as seconds since 1970.

    Raises:
        UsageError: it is neither.
    """
    try:
        if re.fullmatch(r"\s*[0-9]{1,12}(\.[0-9]*)?\s*", text):
            return float(text)
        moment = datetime.fromisoformat(text.strip().removesuffix(" UTC"))
    except ValueError:
        raise UsageError(f"{text!r} is not a moment.", "Write it as 2027-03-01T18:00+01:00.") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def shown_moment(moment: float) -> str:
    """A moment for people, in UTC; one that no calendar has is shown as its seconds."""
    try:
        return datetime.fromtimestamp(moment, UTC).isoformat(" ", "minutes")
    except (ValueError, OverflowError, OSError):
        return f"{moment:g} s since 1970"


@contextmanager
def refusing(folder: Path) -> Iterator[None]:
    """Turn an OSError inside into a sentence about ``folder``."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written: {error.strerror}.", "Name another folder with --output."
        ) from error


def _document(path: Path) -> dict[str, Any]:
    try:
        document = strict_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Restore it from your copy.") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}.", "Restore it from your copy.") from error
    whole = isinstance(document, dict) and document.get("format") == "labkit-course/1"
    if not whole or not document.keys() >= {"name", "id"}:
        raise DataError(f"{path} is not what labkit wrote.", "Restore it from your copy.")
    for kind in ("due", "released"):
        moments = document.get(kind, {})
        if not isinstance(moments, dict) or any(type(when) not in (int, float) for when in moments.values()):
            raise DataError(f"In {path}, `{kind}` is not a time for each assignment.", _AGAIN)
    return dict(document)
