"""A class of 100 made by a script: honest and idle students, copiers, forgers, and code that means harm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from labkit.course import release
from labkit.course.course import Course, init_course
from labkit.course.exercises import exercise

CODE = "mrtd"
"""The assignment whose notebooks are run again; the other has evidence of a boot."""
EVIDENCE = "own-rtmr2"

_SAY = "\nimport json\nopen('answers.json', 'w').write(json.dumps({'answers': {'single_pass': str(found)}}))"


@dataclass(frozen=True)
class Kind:
    """A kind of student: how many, what they do to a worked solution, what they deserve.

    full: all points, or none. flags: all of them; ``{}`` stands for the one they took from.
    """

    name: str
    count: int
    spoil: Callable[[Path, Path, str], None]
    full: bool
    flags: tuple[str, ...] = ()


def _nothing(_work: Path, _victim: Path, _name: str) -> None:
    return


def _missing(work: Path, _victim: Path, _name: str) -> None:
    shutil.rmtree(work)


def _answers_alone(work: Path, _victim: Path, name: str) -> None:
    (work / f"{name}.ipynb").unlink()


def _late(work: Path, _victim: Path, _name: str) -> None:
    (work / "timestamp.txt").write_text("2030-01-01 00:00:00 UTC")


def _copied(work: Path, victim: Path, _name: str) -> None:
    shutil.rmtree(work)
    shutil.copytree(victim, work)


def _copied_answers(work: Path, victim: Path, _name: str) -> None:
    own = (work / "challenge.json").read_bytes()
    _copied(work, victim, "")
    (work / "challenge.json").write_bytes(own)


def _other_quote(work: Path, victim: Path, _name: str) -> None:
    shutil.rmtree(work / "evidence")
    shutil.copytree(victim / "evidence", work / "evidence")


def _forged_boot(work: Path, _victim: Path, _name: str) -> None:
    """What a forged lab.boot leaves: registers that nothing vouches for, and an edited quote."""
    path = work / "answers.json"
    document = json.loads(path.read_text())
    document["answers"]["rtmr2"] = "ab" * 48
    path.write_text(json.dumps(document))
    quote = work / "evidence" / "quote.EMULATED.bin"
    data = bytearray(quote.read_bytes())
    data[48 + 136 + 48 * 6 : 48 + 136 + 48 * 7] = b"\xab" * 48
    quote.write_bytes(data)


def _edited_cells(work: Path, _victim: Path, name: str) -> None:
    (work / "answers.json").unlink()
    path = work / f"{name}.ipynb"
    document = json.loads(path.read_text())
    for cell in document["cells"]:
        about = cell["metadata"]["nbgrader"]
        if cell["cell_type"] == "code":
            cell["source"] = "pass"
        if about["grade"]:
            about["points"] = 100
    path.write_text(json.dumps(document))


def _code(text: str) -> Callable[[Path, Path, str], None]:
    def spoil(work: Path, _victim: Path, name: str) -> None:
        (work / "answers.json").unlink()
        path = work / f"{name}.ipynb"
        document = json.loads(path.read_text())
        for cell in document["cells"]:
            if cell["metadata"]["nbgrader"]["solution"]:
                cell["source"] = text
        path.write_text(json.dumps(document))

    return spoil


def kinds(canary: Path, seed: Path, port: int) -> dict[str, list[Kind]]:
    """The kinds of both assignments: ``canary`` must stay as it is, nobody may call ``port``."""
    fork = "import os, time\nwhile True:\n    try: os.fork()\n    except OSError: time.sleep(0.1)"
    reads = f"try:\n    found = open({str(seed)!r}).read()\nexcept OSError as error:\n    found = error{_SAY}"
    calls = (
        f"import socket\ntry:\n    found = socket.create_connection(('127.0.0.1', {port}), 2)\n"
        f"except OSError as error:\n    found = error{_SAY}"
    )
    writes = (
        f"found = ''\nfor path in ({str(canary)!r}, '/etc/passwd', '/usr/x'):\n    try:\n"
        f"        open(path, 'w').write('here')\n    except OSError as error:\n        found = error{_SAY}"
    )
    return {
        CODE: [
            Kind("honest", 28, _nothing, True),
            Kind("honest without a notebook", 40, _answers_alone, True),
            Kind("empty", 6, _code(""), False),
            Kind("missing", 2, _missing, False, ("missing",)),
            Kind("late", 4, _late, True, ("late", "clock")),
            Kind("copied", 4, _copied, False, ("copied:{}",)),
            Kind("copied answers", 4, _copied_answers, False, ("copied:{}",)),
            Kind("edited cells", 2, _edited_cells, False, ("edited",)),
            Kind("endless loop", 1, _code("while True:\n    pass"), False, ("timeout",)),
            Kind("fork bomb", 1, _code(fork), False, ("timeout",)),
            Kind("4 GB", 2, _code("x = bytearray(4 << 30)"), False),
            Kind("seed", 2, _code(reads), False),
            Kind("network", 2, _code(calls), False),
            Kind("outside", 2, _code(writes), False),
        ],
        EVIDENCE: [
            Kind("honest", 80, _nothing, True),
            Kind("missing", 2, _missing, False, ("missing",)),
            Kind("copied", 6, _copied, False, ("copied:{}",)),
            Kind("quote of another", 6, _other_quote, False, ("copied:{}",)),
            Kind("forged boot", 6, _forged_boot, False, ("forged",)),
        ],
    }


@dataclass(frozen=True)
class Pupil:
    """A student of the class, what kind, and from whom they took."""

    name: str
    kind: Kind
    victim: str

    @property
    def flags(self) -> str:
        """What the CSV must say."""
        return " ".join(flag.format(self.victim) for flag in self.kind.flags)


def make_class(
    folder: Path, assignment: str, canary: Path, port: int, count: int = 100
) -> tuple[Course, list[Pupil]]:
    """A course in ``folder`` with submissions in ``folder/submissions``; fewer students keep all kinds."""
    seed = folder / "course" / "seed"
    rows = [kind for kind in kinds(canary, seed, port)[assignment] for _ in range(kind.count)]
    if count < len(rows):
        rows = [
            kind
            for kind in kinds(canary, seed, port)[assignment]
            for _ in range(max(1, kind.count * count // 100))
        ]
    names = [f"student{number:03d}" for number in range(len(rows))]
    pupils = [
        Pupil(name, kind, names[number % 5])
        for number, (name, kind) in enumerate(zip(names, rows, strict=True))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "roster.csv").write_text("id\n" + "".join(f"{name}\n" for name in names))
    course = init_course(folder / "roster.csv", folder / "course")
    course.set_due(assignment, 1_890_000_000.0)
    release(course, exercise(assignment), folder / "submissions", solutions=True)
    for pupil in pupils:
        work, victim = (folder / "submissions" / name / assignment for name in (pupil.name, pupil.victim))
        pupil.kind.spoil(work, victim, assignment)
    return init_course(folder / "roster.csv", folder / "course"), pupils
