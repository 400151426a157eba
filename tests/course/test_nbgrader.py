"""nbgrader's own commands on every assignment: from generate_assignment to generate_feedback."""

from __future__ import annotations

import getpass
import os
import shutil
from pathlib import Path

import pytest

from labkit.course import release
from labkit.course.course import init_course
from labkit.course.exercises import all_exercises
from labkit.course.model import Exercise
from labkit.course.notebooks import source_path

from .nbgrader_verbs import Nbgrader, scores

STUDENT = getpass.getuser()
SHORT = {"policy"}
"""Half a minute each: the others wait for LABKIT_ALL_ASSIGNMENTS=1."""


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(
            found,
            id=found.name,
            marks=[
                *([pytest.mark.vm] if found.boots else []),
                pytest.mark.skipif(
                    found.name not in SHORT and "LABKIT_ALL_ASSIGNMENTS" not in os.environ,
                    reason="takes half a minute for each assignment: set LABKIT_ALL_ASSIGNMENTS=1",
                ),
            ],
        )
        for found in all_exercises()
    ],
)
def test_nbgraders_commands_pass_and_its_marks_are_ours(
    found: Exercise, nbgrader: Nbgrader, tmp_path: Path
) -> None:
    """The student's solution goes through the exchange; a stub is collected beside it."""
    course, home, exchange = tmp_path / "course", tmp_path / "home", tmp_path / "exchange"
    for folder in (home, exchange):
        folder.mkdir()
    exchange.chmod(0o777)
    (tmp_path / "roster.csv").write_text(f"id\n{STUDENT}\nidle\n")
    made = init_course(tmp_path / "roster.csv", course)
    with (course / "nbgrader_config.py").open("a") as config:
        config.write(f"c.Exchange.root = {str(exchange)!r}\n")
    shutil.copy(course / "nbgrader_config.py", home)
    source = course / "source" / found.name
    source.mkdir(parents=True)
    shutil.copy(source_path(found.name), source)

    nbgrader(course, "generate_assignment", found.name, "--create")
    nbgrader(course, "release_assignment", found.name)
    nbgrader(home, "fetch_assignment", found.name)
    assert "BEGIN SOLUTION" not in (home / found.name / f"{found.name}.ipynb").read_text()
    release(made, found, tmp_path / "solutions", solutions=True)
    release(made, found, tmp_path / "released")
    for path in sorted((tmp_path / "solutions" / STUDENT / found.name).rglob("*")):
        target = home / found.name / path.relative_to(tmp_path / "solutions" / STUDENT / found.name)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            shutil.copy(path, target)
    nbgrader(home, "submit", found.name)
    nbgrader(course, "collect", found.name)
    shutil.copytree(tmp_path / "released" / "idle" / found.name, course / "submitted" / "idle" / found.name)
    nbgrader(course, "autograde", found.name, "--create", course=course)
    nbgrader(course, "generate_feedback", found.name)
    assert scores(course, found.name) == {STUDENT: float(found.points), "idle": 0.0}
    assert list((course / "feedback" / STUDENT / found.name).glob("*.html"))
