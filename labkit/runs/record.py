"""Provenance of a run: what ran where, when, on which platform with which trust; kept in ``run.json``.

A chapter reports its platform through a file: ``result.json`` anywhere below the directory that its
parameter ``run_dir`` names (at most three folders deep), a JSON object with the keys ``platform``, ``trust``
and ``accelerator``, and optionally ``versions``, an object of names and texts. Files that are new or changed
when a chapter ends are that chapter's. What is not reported is recorded as null and never guessed; a claim of
hardware is not believed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from labkit.errors import DataError, UsageError
from labkit.files import plain_parts, printable, read_below, strict_json, write_below
from labkit.runs._copies import where_instead
from labkit.runs.execution import CellFailure
from labkit.settings import Trust
from labkit.show import clean, columns, one_line, stamp
from labkit.show.site import UNFINISHED

RECORD = "run.json"
RESULT = "result.json"

_TEXT_LIMIT = 200
_RESULT_LIMIT = 1 << 20
_RECORD_LIMIT = 16 << 20
_LONGEST_NAME = 200  # bytes; a page and a stamped notebook are called by it
_STATES = frozenset({"running", "passed", "failed", "interrupted"})
_ACCELERATORS = frozenset({"tcg", "kvm"})

EMULATED = "emulated"
CLAIMED = "unproven"
"""What a platform is called that a file claims and nothing proves."""


@dataclass(frozen=True)
class Reported:
    """What chapters said of the platform they ran on; None where they said nothing."""

    platform: str | None = None
    trust: Trust | None = None
    accelerator: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields under their names."""
        return asdict(self)

    @classmethod
    def merge(cls, many: Iterable[Reported]) -> Reported:
        """All of several reports in one: names side by side, trust only as high as the lowest."""
        reports = list(many)
        trusts = {report.trust for report in reports if report.trust is not None}
        return cls(
            platform=_side_by_side(report.platform for report in reports),
            trust=Trust.NONE if Trust.NONE in trusts else Trust.HARDWARE if trusts else None,
            accelerator=_side_by_side(report.accelerator for report in reports),
        )


@dataclass(frozen=True)
class Chapter:
    """One notebook of a run.

    status: ``passed``, ``failed`` or ``interrupted``. seconds: wall time, with the kernel's start.
    cells_run of cells: code cells that ended without an unexpected error.
    output: the executed notebook, relative to the run directory; None where there is none.
    content_sha256: of the executed notebook without times and the run directory's name, so that it is
    the same for two runs that had the same results. output_sha256: of the file.
    results: the ``result.json`` files it left. left_behind: names of processes it did not end itself.
    host_cells: places of the cells that ran on the host, in a notebook whose cells run in a TDVM.
    """

    name: str
    title: str
    source: str
    source_sha256: str
    kernel: str
    parameters: dict[str, Any]
    status: str
    started: str
    seconds: float
    cells_run: int = 0
    cells: int = 0
    output: str | None = None
    output_sha256: str | None = None
    content_sha256: str | None = None
    reported: Reported = field(default_factory=Reported)
    results: tuple[str, ...] = ()
    failure: CellFailure | None = None
    left_behind: tuple[str, ...] = ()
    host_cells: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields under their names, the report's among them."""
        data = asdict(self)
        data.update(data.pop("reported"))
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Chapter:
        """The inverse of ``to_dict`` for a record that may come from anywhere; its trust is never hardware.

        Raises:
            ValueError, TypeError, KeyError: a value is not what labkit writes.
            DataError: a name leads out of the run's directory.
        """
        words = {key: value for key, value in data.items() if key in cls.__dataclass_fields__}
        if (
            not isinstance(words["name"], str)
            or len(plain_parts(words["name"])) != 1
            or words["name"][0] == "."
            or len(words["name"].encode()) > _LONGEST_NAME
        ):
            raise ValueError(f"{printable(words['name'])} is not a name of a chapter")
        for key in ("title", "source", "source_sha256", "kernel", "started"):
            if not isinstance(words[key], str):
                raise TypeError(f"{key} is not text")
        words["status"] = _word(words["status"])
        words["seconds"] = _number(words["seconds"])
        for key in ("cells_run", "cells"):
            words[key] = int(_number(words.get(key, 0)))
        if not isinstance(words["parameters"], dict):
            raise TypeError("parameters are no object")
        words["output"] = _below(words["output"]) if words.get("output") else None
        words["reported"] = believed(data.get("platform"), data.get("trust"), data.get("accelerator"))
        words["failure"] = read_failure(data["failure"]) if data.get("failure") else None
        words["results"] = tuple(_below(name) for name in data.get("results", ()))
        words["host_cells"] = tuple(int(_number(number)) for number in data.get("host_cells", ()))
        words["left_behind"] = tuple(map(_said, data.get("left_behind", ())))
        return cls(**words)


@dataclass(frozen=True)
class Run:
    """Everything about one run of notebooks; ``directory`` is where it lies.

    status: ``running``, ``passed``, ``failed`` or ``interrupted``. Times are UTC, ISO 8601.
    jobs: how many chapters ran at a time; what they measured they measured beside each other.
    """

    directory: Path
    status: str
    started: str
    finished: str | None
    seconds: float
    host: dict[str, Any]
    versions: dict[str, str]
    git: dict[str, Any] | None
    chapters: tuple[Chapter, ...] = ()
    site: str | None = None
    jobs: int = 1

    def __repr__(self) -> str:
        return f"<Run {self.directory.name}: {self.status}, {len(self.chapters)} chapters>"

    @property
    def reported(self) -> Reported:
        """What all chapters together reported."""
        return Reported.merge(chapter.reported for chapter in self.chapters)

    @property
    def failed(self) -> tuple[Chapter, ...]:
        """The chapters that did not pass."""
        return tuple(chapter for chapter in self.chapters if chapter.status != "passed")

    @property
    def complete(self) -> bool:
        """Every chapter of the run has its result: it was not interrupted, cut off, or still goes on."""
        return self.status in ("passed", "failed")

    @property
    def index(self) -> Path | None:
        """The site's first page; None before there is a site."""
        return self.directory / self.site if self.site else None

    def to_dict(self) -> dict[str, Any]:
        """The record as it stands in ``run.json``."""
        return {
            "format": 1,
            "status": self.status,
            **self.reported.to_dict(),
            "stamp": self.reported.trust.stamp if self.reported.trust else None,
            "started": self.started,
            "finished": self.finished,
            "seconds": self.seconds,
            "jobs": self.jobs,
            "host": self.host,
            "versions": self.versions,
            "git": self.git,
            "chapters": [chapter.to_dict() for chapter in self.chapters],
            "site": self.site,
            "run_dir": str(self.directory),
        }

    def __str__(self) -> str:
        passed = len(self.chapters) - len(self.failed)
        mark = stamp(self.reported.trust) if self.reported.trust else ""
        beside = f", {self.jobs} at a time" if self.jobs > 1 else ""
        lines = [
            f"{mark}{passed} of {len(self.chapters)} chapters passed in {self.seconds:.1f} s{beside}",
            *([] if self.complete else [UNFINISHED]),
            columns(
                (chapter.name, chapter.status, f"{chapter.seconds:.1f} s", str(chapter.failure or ""))
                for chapter in self.chapters
            ),
        ]
        return clean("\n".join([*lines, str(self.index or self.directory)]))


def write_record(run: Run) -> None:
    """Write ``run.json`` in one step: a reader finds the old one or the new one."""
    write_below(run.directory, RECORD, record_bytes(run))


def record_bytes(run: Run) -> bytes:
    """The record as it stands in ``run.json``."""
    return (json.dumps(run.to_dict(), indent=2) + "\n").encode("ascii")


def read_record(directory: Path) -> Run:
    """Read the record of a run.

    Raises:
        UsageError: the directory holds no run.
        DataError: the record is damaged, or names what is not below the directory.
    """
    if not os.path.lexists(directory / RECORD):
        remedy = where_instead(directory, RECORD)
        raise UsageError(
            f"There is no run in {directory}.",
            remedy or f"Name a directory with a {RECORD}, as `labkit run` makes.",
        )
    text = read_below(directory, RECORD, _RECORD_LIMIT)
    try:
        return _run(directory.resolve(), strict_json(text))
    except KeyError as error:
        why = f"it has no {printable(str(error.args[0]))}"
    except (TypeError, AttributeError):
        why = "a value in it is of another kind than labkit writes"
    except ValueError as error:
        why = str(error)
    raise DataError(f"{directory / RECORD} is damaged: {why}.", "Run the chapters again.")


def _run(directory: Path, data: Any) -> Run:
    """The run that a record tells of.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: a value is not what labkit writes.
    """
    chapters = tuple(Chapter.from_dict(chapter) for chapter in data["chapters"])
    if len({chapter.name for chapter in chapters}) != len(chapters):
        raise ValueError("two chapters in it have one name")
    return Run(
        directory=directory,
        status=_word(data["status"]),
        started=_time(data["started"]),
        finished=_time(data["finished"]) if data["finished"] else None,
        seconds=_number(data["seconds"]),
        host=_host(data["host"]),
        versions={str(name): str(value) for name, value in data["versions"].items()},
        git=_commit(data["git"]) if data["git"] else None,
        chapters=chapters,
        site=_below(data["site"]) if data["site"] else None,
        jobs=max(1, int(_number(data.get("jobs", 1)))),
    )


def _host(host: dict[str, Any]) -> dict[str, Any]:
    if not all(isinstance(host[name], str) for name in ("os", "kernel", "processor")):
        raise ValueError("the host is not described as labkit does")
    return {**host, **{name: int(_number(host[name])) for name in ("cpus", "memory_mib")}}


def _commit(git: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(git["commit"], str) or not isinstance(git["changed"], bool):
        raise ValueError("the commit is not described as labkit does")
    return dict(git)


def read_failure(data: Mapping[str, Any]) -> CellFailure:
    """The failure that a record tells of.

    Raises:
        TypeError, ValueError: it is none.
    """
    found = CellFailure(**data)
    for text in (found.first_line, found.ename, found.evalue, found.cell_id or ""):
        _said(text)
    return replace(found, cell=None if found.cell is None else int(_number(found.cell)))


def _said(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a value is not text")
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise ValueError("a count or a time in it is not a number that a run has")
    return float(value)


def result_files(directory: Path, below: str = "") -> dict[str, tuple[int, int]]:
    """The result files below a folder of a run directory, with what changes when they are written.

    Their names are relative to the run directory.
    """
    found = {}
    for pattern in ("*/", "*/*/", "*/*/*/"):
        for path in sorted((directory / below).glob(pattern + RESULT)):
            status = path.lstat()
            found[str(path.relative_to(directory))] = (status.st_mtime_ns, status.st_size)
    return found


def read_results(directory: Path, names: Iterable[str]) -> tuple[Reported, dict[str, str]]:
    """What result files report, merged, and the versions they name; unusable files report nothing."""
    reports: list[Reported] = []
    versions: dict[str, str] = {}
    for name in names:
        try:
            data = json.loads(read_below(directory, name, _RESULT_LIMIT))
        except (ValueError, RecursionError, DataError):
            continue
        if not isinstance(data, dict):
            continue
        reports.append(believed(data.get("platform"), data.get("trust"), data.get("accelerator")))
        known = data.get("versions")
        for key, value in known.items() if isinstance(known, dict) else ():
            text = _text(value)
            if text is not None:
                versions[clean(str(key), _TEXT_LIMIT)] = text
    return Reported.merge(reports), versions


def believed(platform: object, trust: object, accelerator: object) -> Reported:
    """What a file says of the platform, as far as it may be believed.

    A cell can write any file. That something was emulated needs no proof; that it was hardware is proven by a
    verified quote and never by a file, so that whatever claims it has no trust.
    """
    name, by = _text(platform), _text(accelerator)
    known = name if name in (None, EMULATED) else CLAIMED
    said = isinstance(trust, str) and trust in {item.value for item in Trust}
    # The name of an accelerator is shown beside that of the platform, and would be read as one.
    accelerated = by if by is None or by in _ACCELERATORS else CLAIMED
    return Reported(known, Trust.NONE if said or name or accelerated == CLAIMED else None, accelerated)


def finish(run: Run, status: str, finished: str, seconds: float) -> Run:
    """The run with its end filled in."""
    return replace(run, status=status, finished=finished, seconds=seconds)


def _side_by_side(words: Iterable[str | None]) -> str | None:
    return ", ".join(dict.fromkeys(word for word in words if word)) or None


def _word(value: object) -> str:
    if not isinstance(value, str) or value not in _STATES:
        raise ValueError(f"{one_line(str(value), 60)} is not a state of a run")
    return value


def _time(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a time is not text")
    try:
        return datetime.fromisoformat(value).isoformat(timespec="seconds")
    except ValueError:
        raise ValueError(f"{one_line(value, 60)} is not a time") from None


def _below(value: object) -> str:
    """A name that stays below the run's directory."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a name of a file")
    return "/".join(plain_parts(value))


def _text(value: object) -> str | None:
    return clean(value, _TEXT_LIMIT) if isinstance(value, str) and value else None
