"""A class of every kind of student: each gets the mark it deserves, and nothing is left behind.

LABKIT_STUDENTS says how many they are: 20 by default, and never fewer than one of each kind.
"""

from __future__ import annotations

import csv
import os
import socket
import sys
from pathlib import Path

import pytest

from labkit import process
from labkit.course.exercises import exercise
from labkit.course.sandbox import bubblewrap
from tests.course.class_of_100 import CODE, EVIDENCE, make_class
from tests.course.serial import sandboxes_that_stay

STUDENTS = int(os.environ.get("LABKIT_STUDENTS", "20"))

pytestmark = pytest.mark.skipif(bubblewrap() is None, reason="bubblewrap is not installed")


@pytest.mark.parametrize("assignment", [CODE, EVIDENCE])
def test_everybody_gets_what_they_deserve(assignment: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text("untouched")
    canary.chmod(0o666)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        port = listener.getsockname()[1]
        _, pupils = make_class(tmp_path / "class", assignment, canary, port, STUDENTS)
        texts = []
        for number in range(2):
            table = tmp_path / f"marks{number}.csv"
            words: list[str | Path] = [
                "grade",
                assignment,
                tmp_path / "class/submissions",
                "--course",
                tmp_path / "class/course",
            ]
            words += ["-j", "2", "--timeout", "3", "--csv", table]
            scratch = tmp_path / "scratch"
            scratch.mkdir(exist_ok=True)
            done = process.run(
                [sys.executable, "-m", "labkit", *words],
                timeout=580,
                env={**os.environ, "TMPDIR": str(scratch)},
            )
            assert done.status == 0, done.text
            assert list(scratch.iterdir()) == []
            texts.append(table.read_text())
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert texts[0] == texts[1]
    rows = {row["id"]: row for row in csv.DictReader(texts[0].splitlines())}
    full = exercise(assignment).points
    for pupil in pupils:
        row = rows[pupil.name]
        shown = (pupil.kind.name, pupil.name, int(row["score"]), row["flags"])
        assert shown == (pupil.kind.name, pupil.name, full if pupil.kind.full else 0, pupil.flags)
    assert len(rows) == len(pupils)
    assert canary.read_text() == "untouched"
    assert sandboxes_that_stay() == set()
