"""The engine: a class on dask.distributed, whose workers and whose grader are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from labkit.course import release
from labkit.course.classes import grade_class
from labkit.course.course import init_course, open_course
from labkit.course.engine import ResultStore, grade_jobs
from labkit.course.exercises import exercise
from labkit.course.grading import GradingJob, grade
from labkit.course.submissions import Submission
from labkit.errors import MissingComponent
from tests.workers import everything, workers_of

KILLS = int(os.environ.get("LABKIT_KILLS", "2"))
STUDENTS = tuple(f"s{number:02d}" for number in range(24))
UNANSWERED = "s20"
"""Whose code left no answers: it may be endless."""
DEADLINE = 120.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engine")
    (folder / "roster.csv").write_text("id\n" + "".join(f"{student}\n" for student in STUDENTS))
    course = init_course(folder / "roster.csv", folder / "course")
    release(course, exercise("refusals"), folder / "solutions", solutions=True)
    # Two who copied: their flags follow from all results together, whenever each was made.
    for thief, victim in (("s05", "s02"), ("s17", "s03")):
        for path in (folder / "solutions" / victim / "refusals").iterdir():
            (folder / "solutions" / thief / "refusals" / path.name).write_bytes(path.read_bytes())
    (folder / "solutions" / UNANSWERED / "refusals" / "answers.json").unlink()
    return folder


def command(place: Path, csv: Path, *more: str) -> list[str]:
    words = [sys.executable, "-m", "labkit", "grade", "refusals", str(place / "solutions")]
    return [*words, "--course", str(place / "course"), "--no-rerun", "--csv", str(csv), *more]


def results(place: Path) -> list[Path]:
    return list((place / "course" / "grades" / "refusals").glob("*.json"))


def wait_for(what: Callable[..., bool], *arguments: object) -> None:
    end = time.monotonic() + DEADLINE
    while not what(*arguments):
        assert time.monotonic() < end, "the deadline passed"
        time.sleep(0.01)


def graded_or_over(place: Path, count: int, process: subprocess.Popen[bytes]) -> bool:
    return len(results(place)) >= count or process.poll() is not None


def over(process: subprocess.Popen[Any]) -> bool:
    return process.poll() is not None


def fork_server_of(pid: int) -> bool:
    return any(parent == pid and "forkserver" in line for parent, line in everything().values())


def nobody_left(family: list[int]) -> bool:
    return everything().keys().isdisjoint(family)


@contextmanager
def grading(place: Path, csv: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command(place, csv, "-j", "2"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def marks(place: Path) -> str:
    """What a grader that nobody disturbs says, computed in this process."""
    from labkit.course.classes import ClassGrades, student_row
    from labkit.course.copies import find_copies
    from labkit.course.notebooks import student_notebook
    from labkit.course.submissions import find_submissions

    course = open_course(place / "course")
    found = {entry.student: entry for entry in find_submissions(place / "solutions", "refusals", STUDENTS)}
    released = student_notebook("refusals", course.notebooks)
    rows = [
        grade(GradingJob("refusals", course.seed, course.identity, s, found[s], released, None, False))
        for s in STUDENTS
    ]
    copies = find_copies(rows)
    return ClassGrades(
        "refusals",
        tuple(student_row(r, copies.flags.get(r.student, ()), copies.void.get(r.student, "")) for r in rows),
    ).csv()


def test_killing_workers_and_graders_at_random_moments_changes_no_mark(place: Path, tmp_path: Path) -> None:
    """LABKIT_KILLS of them, half of a worker and half of the grader itself, each after some more results."""
    expected = marks(place)
    chance = random.Random(15)
    csv = tmp_path / "marks.csv"
    kills = 0
    for _ in range(4 * KILLS):
        if kills == KILLS:
            break
        with grading(place, csv) as process:
            before = len(results(place))
            target = min(before + chance.randrange(1, 4), len(STUDENTS))
            wait_for(graded_or_over, place, target, process)
            if process.poll() is not None:
                for path in results(place)[: chance.randrange(4, 12)]:
                    path.unlink()
                continue
            workers = workers_of(process.pid)
            if not workers:  # it is ending
                continue
            if kills % 2:
                os.kill(chance.choice(workers), signal.SIGKILL)
                kills += 1
                wait_for(over, process)
                assert process.returncode == 0
                assert csv.read_text() == expected
                for path in results(place):
                    path.unlink()
            else:
                process.kill()
                process.wait()
                kills += 1
                wait_for(nobody_left, workers)
    assert kills == KILLS
    done = subprocess.run(command(place, csv), capture_output=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr
    assert csv.read_text() == expected
    assert "copied:s02" in expected
    assert "copied:s03" in expected


class Cluster:
    """A client whose only worker dies when its result has just been fetched: the future is lost by then."""

    status = "lost"

    def submit(self, *_: object, **__: object) -> Cluster:
        return self

    def release(self) -> None:
        pass


def test_a_result_counts_that_was_had_before_its_worker_died(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course = open_course(place / "course")
    job = GradingJob("refusals", course.seed, course.identity, "s01", None, b"{}", None, False)
    result = grade(job)
    client = Cluster()
    monkeypatch.setattr("labkit.course.engine.local_cluster", lambda *_: nullcontext())
    monkeypatch.setattr("distributed.Client", lambda *_, **__: nullcontext(client))
    monkeypatch.setattr(client, "loop", None, raising=False)
    monkeypatch.setattr("distributed.as_completed", lambda futures, **_: [(client, result)])
    assert grade_jobs([job], ResultStore(tmp_path), 1) == [result]


def test_ctrl_c_while_workers_start_is_one_word(place: Path, tmp_path: Path) -> None:
    """To all of its processes, as a terminal sends it, and twice: none of them says anything."""
    for path in results(place):
        path.unlink()
    words = command(place, tmp_path / "marks.csv", "-j", "2")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        wait_for(fork_server_of, process.pid)
        os.killpg(process.pid, signal.SIGINT)
        wait_for(lambda: bool(workers_of(process.pid)) or over(process))
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=DEADLINE)[1]
    assert (process.returncode, said.strip()) == (130, "")


def test_a_scheduler_that_exists(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without workers, with one of another labkit, with a good one, and gone while it is used.

    The good one begins with what may take longest; a class is told in its own order.
    """
    from distributed import LocalCluster

    for path in results(place):
        path.unlink()
    course = open_course(place / "course")
    told: list[str] = []
    with LocalCluster(
        n_workers=0, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs="CRITICAL"
    ) as cluster:
        address = cluster.scheduler_address

        def tell(_done: int, _count: int, student: str) -> None:
            told.append(student)

        def graded() -> str:
            work = place / "solutions"
            found = exercise("refusals")
            return grade_class(course, found, work, 1, address, rerun=False, on_progress=tell).csv()

        with monkeypatch.context() as patch:
            patch.setattr("labkit.course.engine._PATIENCE", 1.0)
            with pytest.raises(MissingComponent, match="has no worker"):
                graded()
        cluster.scale(1)
        cluster.wait_for_workers(1, DEADLINE)
        with monkeypatch.context() as patch:
            patch.setattr("labkit.course.grading.VERSION", 999)
            with pytest.raises(MissingComponent, match=r"has another labkit: .*, and this is .* 999"):
                graded()
        assert results(place) == []
        assert graded() == marks(place)
        assert told == sorted(STUDENTS, key=lambda student: student != UNANSWERED)
        for path in results(place):
            path.unlink()
        words = command(place, tmp_path / "marks.csv", "--scheduler", address)
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
            wait_for(graded_or_over, place, 1, process)
            cluster.close()
            said = process.communicate(timeout=DEADLINE)[1]
    assert process.returncode == 69, said
    assert "The scheduler went away" in said
    assert "Traceback" not in said


def test_a_scheduler_that_does_not_answer_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.course.engine._PATIENCE", 1)
    for path in results(place):
        path.unlink()
    course = open_course(place / "course")
    with pytest.raises(MissingComponent, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        grade_class(course, exercise("refusals"), place / "solutions", 1, "tcp://127.0.0.1:9", rerun=False)


def test_a_result_is_kept_whole_or_not_at_all(place: Path, tmp_path: Path) -> None:
    course = open_course(place / "course")
    store = ResultStore(tmp_path)
    job = GradingJob("refusals", course.seed, course.identity, "s00", None, b"")
    assert store.load(job) is None
    store.save(job, grade(job))
    assert store.load(job) == grade(job)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    assert store.load(job) is None


def test_code_that_left_no_answers_may_take_longest() -> None:
    def length(*names: str) -> int:
        handed_in = Submission("s00", dict.fromkeys(names, b""))
        return GradingJob("refusals", b"", "course", "s00", handed_in, b"").length

    nothing = GradingJob("refusals", b"", "course", "s00", None, b"").length
    assert nothing == length("answers.json") == length("other.ipynb")
    assert nothing < length("answers.json", "refusals.ipynb") < length("refusals.ipynb", "challenge.json")
