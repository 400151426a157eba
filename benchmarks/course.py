"""Grading a class: two workers beside one, and labkit beside nbgrader's own serial autograde, in one run.

Usage: python benchmarks/course.py [STUDENTS]. All graders get the same submissions, worked solutions of
``mrtd``; all of them run the notebooks again. nbgrader starts a kernel for each. One worker and two take
turns, and medians count. The first run of all, which also makes what a course makes once, does not. Then one
and two grade the class of every kind of student that the tests have, whose endless loops and fork bombs are
ended by time; nbgrader, which would run them with the teacher's rights, does not.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from _report import middle, report, seconds

from labkit import process
from labkit.course import release
from labkit.course.course import init_course
from labkit.course.exercises import exercise
from labkit.course.notebooks import source_path

NAME = "mrtd"
ROUNDS = 3


def main(count: int) -> None:
    """Time the three graders on one class."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "roster.csv").write_text("id\n" + "".join(f"s{number:03d}\n" for number in range(count)))
        course = init_course(folder / "roster.csv", folder / "course")
        release(course, exercise(NAME), folder / "course" / "submitted", solutions=True)
        source = folder / "course" / "source" / NAME
        source.mkdir(parents=True)
        shutil.copy(source_path(NAME), source)
        run(folder, "nbgrader", "generate_assignment", NAME, "--create")

        ours = grader(folder, "submitted")
        ours(1)
        one, two, times = middle([(ours(1), ours(2)) for _ in range(ROUNDS)])
        theirs = seconds(lambda: run(folder, "nbgrader", "autograde", NAME, "--create"))
        rows = [
            {"grader": "nbgrader autograde", "seconds": theirs, "each": theirs / count, "times": 1.0},
            {"grader": "labkit grade -j 1", "seconds": one, "each": one / count, "times": theirs / one},
            {"grader": "labkit grade -j 2", "seconds": two, "each": two / count, "times": theirs / two},
            {"grader": "-j 2 beside -j 1", "seconds": two, "each": two / count, "times": times},
        ]
    one, two = every_kind(count)
    rows += [
        {"grader": "every kind, -j 1", "seconds": one, "each": one / count, "times": 1.0},
        {"grader": "every kind, -j 2", "seconds": two, "each": two / count, "times": one / two},
    ]
    report("course", rows)


def every_kind(count: int) -> tuple[float, float]:
    """Seconds that one worker takes for a class of honest students, copiers and attackers, and two."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.course.class_of_100 import make_class

    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as listener:
        folder = Path(name)
        (folder / "canary").touch()
        make_class(folder, NAME, folder / "canary", listener.getsockname()[1], count)
        ours = grader(folder, "../submissions")
        ours(2)
        return ours(1), ours(2)


def grader(folder: Path, submissions: str) -> Callable[[int], float]:
    """Grades the submissions with as many workers as it is told, and says how many seconds it took."""

    def grade(workers: int) -> float:
        shutil.rmtree(folder / "course" / "grades", ignore_errors=True)
        words = ("grade", NAME, submissions, "--course", ".", "--gradebook", "none", "-j", str(workers))
        return seconds(lambda: run(folder, "labkit", *words))

    return grade


def run(folder: Path, module: str, *words: str) -> None:
    """Run a command line as the teacher of the course."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    names = {"PATH": path, "LABKIT_COURSE": str(folder / "course")}
    done = process.run(
        [sys.executable, "-m", module, *words],
        timeout=3600,
        cwd=folder / "course",
        env={**os.environ, **names},
    )
    if done.status:
        raise SystemExit(done.text[-2000:])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
