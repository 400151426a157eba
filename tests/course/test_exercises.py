"""Every exercise: solutions get full marks, nothing gets none, variants are each student's own and stay."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from labkit.course import open_work
from labkit.course.draw import Draw
from labkit.course.exercises import all_exercises, exercise
from labkit.course.model import Claims, Exercise, Task, Variant
from labkit.course.notebooks import Returned, make_notebook, source_path
from labkit.course.sandbox import Limits, bubblewrap
from labkit.course.work import PRACTICE
from labkit.process import run

SEED = b"a seed for tests, 32 bytes long."
STUDENTS = [f"student-{number}" for number in range(6)]
each = pytest.mark.parametrize("found", all_exercises(), ids=lambda found: found.name)
sandboxed = pytest.mark.skipif(bubblewrap() is None, reason="bubblewrap is not installed")
each_is_graded = pytest.mark.parametrize(
    "found",
    [pytest.param(found, id=found.name, marks=sandboxed if found.code else ()) for found in all_exercises()],
)


def tasks(found: Exercise, count: int = len(STUDENTS)) -> list[Task]:
    return [found.task(SEED, "course", student) for student in STUDENTS[:count]]


@each_is_graded
def test_the_worked_solution_gets_full_marks(found: Exercise) -> None:
    for task in tasks(found):
        wrong = [mark for mark in task.marks(found.solve(task)) if not mark.full]
        assert wrong == []


def test_a_write_behind_a_refusal_lends_it_no_registers() -> None:
    """What the last call is about stands in that call, and not in a row that no module was asked."""
    found = exercise("refusals")
    task = tasks(found, 1)[0]
    solved = found.solve(task).answers
    for key, calls in solved.items():
        behind = {"write": 0, "data": "", "leaf": calls[-1]["leaf"], "regs": calls[-1]["regs"]}
        marks = {mark.question: mark for mark in task.marks(Claims({**solved, key: [*calls, behind]}))}
        assert marks[key].points == 0
        assert "is a write" in marks[key].why


@sandboxed
def test_a_driver_that_does_not_end_is_told_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Limits, "asleep", 0.5)
    source = "import time\ndef driver(shared, said):\n    time.sleep(600)\n    yield"
    for mark in tasks(exercise("driver"), 1)[0].marks(Claims({"source": source})):
        assert mark.timeout
        assert mark.why.startswith("The driver slept for 0.5 seconds in all, and nothing in the sandbox ")


@sandboxed
def test_teachers_read_which_exercises_labkit_itself_solves_for_a_student() -> None:
    """Without the seed, from what a student has: their challenge and its files."""
    solved = set()
    for found in all_exercises():
        task = tasks(found, 1)[0]
        given = dataclasses.replace(task, variant=Variant(task.variant.parameters, task.variant.files))
        with contextlib.suppress(KeyError):  # it needs what only the seed tells
            if all(mark.full for mark in task.marks(found.solve(given))):
                solved.add(found.name)
    page = (Path(__file__).parents[2] / "docs" / "teaching.md").read_text()
    sentence = re.search(r"For ([^.]*), one call of `solve`", page)
    assert sentence is not None
    assert set(re.findall("`([a-z0-9-]+)`", sentence[1])) == solved


@each
def test_nothing_gets_no_marks(found: Exercise) -> None:
    for claims in (Claims({}), Claims({question.key: "" for question in found.questions})):
        assert all(mark.points == 0 for mark in tasks(found, 1)[0].marks(claims))


@each_is_graded
def test_a_neighbours_answers_do_not_pass(found: Exercise) -> None:
    one, other = tasks(found, 2)
    marks = one.marks(found.solve(other))
    assert sum(mark.points for mark in marks) < found.points / 2


HOSTILE: list[Any] = [0, -1, 1 << 80, True, None, "x", "ff" * 48, [], [[]], {}, {"a": {}}, [None] * 5, 1e300]


@each_is_graded
@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: str(value)[:12])
def test_hostile_answers_get_no_marks_and_break_nothing(found: Exercise, value: Any) -> None:
    task = tasks(found, 1)[0]
    claims = Claims({question.key: value for question in found.questions})
    try:
        marks = task.marks(claims)
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # the grader gives no marks for it
    lucky = sum(mark.points for mark in marks if not mark.full)
    assert lucky == 0
    assert sum(mark.points for mark in marks) < found.points


@each
def test_a_variant_follows_from_seed_course_student_and_nothing_else(found: Exercise) -> None:
    first, again = tasks(found, 1)[0], tasks(found, 1)[0]
    assert first.challenge_file() == again.challenge_file()
    lasting = first.variant.files.keys() - first.variant.signed
    assert {name: first.variant.files[name] for name in lasting} == {
        name: again.variant.files[name] for name in lasting
    }
    assert first.variant.files.keys() == again.variant.files.keys()
    assert dict(first.variant.expected) == dict(again.variant.expected)
    others = [
        found.task(SEED, "course", "student-1"),
        found.task(SEED, "another", "student-0"),
        found.task(SEED[::-1], "course", "student-0"),
    ]
    assert first.challenge_file() not in [other.challenge_file() for other in others]


@each
def test_what_students_get_has_no_answer_in_it(found: Exercise) -> None:
    task = tasks(found, 1)[0]
    given = task.challenge_file() + b"".join(task.variant.files.values())
    for question in found.questions:
        if question.unique and question.key in task.variant.expected:
            value = question.form.read(task.variant.expected[question.key])
            if isinstance(value, bytes):
                assert value.hex().encode() not in given


@each
def test_no_given_file_is_taken_for_a_notebook_of_the_assignment(found: Exercise) -> None:
    """nbgrader takes every notebook beside the assignment's own for another one to be graded."""
    for name in tasks(found, 1)[0].variant.files:
        assert "/" in name or not name.endswith(".ipynb"), name


@each
def test_questions_have_points_hints_and_a_form(found: Exercise) -> None:
    assert found.points == sum(question.points for question in found.questions) > 0
    for question in found.questions:
        assert question.hints, question.key
        assert question.form.about


@each
def test_the_notebook_is_nbgraders_and_has_a_cell_for_each_question(found: Exercise) -> None:
    cells = json.loads(source_path(found.name).read_text())["cells"]
    about = [cell["metadata"]["nbgrader"] for cell in cells]
    points = {entry["grade_id"]: entry["points"] for entry in about if entry["grade"]}
    assert points == {f"check-{question.key}": question.points for question in found.questions}
    assert len({entry["grade_id"] for entry in about}) == len(about)


@each
def test_students_get_neither_solutions_nor_hidden_tests(found: Exercise) -> None:
    for solutions in (False, True):
        text = make_notebook(found.name, solutions).decode()
        assert "HIDDEN TESTS" not in text
        assert "hidden_check" not in text
        assert ("BEGIN SOLUTION" in text) is solutions
        assert '"outputs": []' in text
    assert Returned(make_notebook(found.name, True)).differs_from(Returned(make_notebook(found.name)))
    assert not Returned(make_notebook(found.name, True)).edited(Returned(make_notebook(found.name)))


@each_is_graded
def test_the_practice_variant_can_be_solved(found: Exercise) -> None:
    task = found.task(PRACTICE, "practice", "practice")
    assert all(mark.full for mark in task.marks(found.solve(task)))


def test_there_is_no_such_assignment() -> None:
    from labkit.errors import UsageError

    with pytest.raises(UsageError, match="no assignment 'mrdt'") as refused:
        exercise("mrdt")
    assert "mrtd" in refused.value.remedy


def test_draws_stay_the_same() -> None:
    """Pinned: if these move, every variant of every course moves."""
    draw = Draw(b"seed", "a", "b")
    assert draw.bytes(4).hex() == Draw(b"seed", "a", "b").bytes(4).hex()
    assert [draw.below(10) for _ in range(8)] == [9, 5, 7, 2, 9, 5, 1, 4]
    assert sorted(draw.shuffle(range(5))) == [0, 1, 2, 3, 4]
    assert Draw(b"seed", "ab").bytes(8) != Draw(b"seed", "a", "b").bytes(8)


def test_exercises_are_plain_data() -> None:
    for found in all_exercises():
        assert dataclasses.is_dataclass(found)
        json.dumps(found.task(SEED, "course", "x").variant.parameters)


def test_what_an_older_version_gave_for_practice_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_STATE_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    given = open_work("run-dirs").path("run-1")
    before = sorted(path for path in given.rglob("*"))
    (given / "executed/of-an-older-version.ipynb").write_text("{}")
    open_work("run-dirs")
    assert sorted(path for path in given.rglob("*")) == before


def test_a_check_that_is_not_passed_is_one_sentence_in_a_notebook(tmp_path: Path) -> None:
    words = "from labkit.course import open_work; work = open_work('mrtd'); print(work); work.check('pages')"
    state = {"LABKIT_STATE_DIR": str(tmp_path), "IPYTHONDIR": str(tmp_path)}
    done = run([sys.executable, "-m", "IPython", "-c", words], env={**os.environ, **state})
    told, _, found = done.text.partition("Stuck? ")
    assert "Write" in told
    assert "work.hint(" in found
    assert found.splitlines()[-1].startswith("✘ pages: not answered yet. Write ")
    assert "Traceback" not in found
    assert "work.py" not in found


def test_practice_tells_what_is_right_only_after_the_last_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LABKIT_STATE_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    work = open_work("mrtd")
    work.answer("pages", 0)
    hints = exercise("mrtd").question("pages").hints
    for _ in hints:
        with pytest.raises(AssertionError, match=r'^pages: Wrong\. work\.hint\("pages"\) gives a hint'):
            work.check("pages")
        work.hint("pages")
    with pytest.raises(AssertionError, match=r"^pages: Wrong\. Right is \d+\.$"):
        work.check("pages")
    work.hint("pages")
    assert capsys.readouterr().out.count(f"Hint {len(hints)} of {len(hints)}") == 2


@each
def test_how_to_answer_is_a_sentence(found: Exercise) -> None:
    for question in found.questions:
        assert re.fullmatch(r"(?:Write (?!by )|It is shown by ).+[^.]\.", question.how), question.how


def test_a_question_is_told_with_how_to_answer_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_STATE_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    told = str(open_work("td-state"))
    assert "a TD with your KeyID\n      Write a list of calls" in told
    assert "it is RUNNABLE\n      It is shown by your calls." in told
