"""Grade a class: find the submissions, grade what is new, look for copies, and say what came out."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from labkit.course.copies import find_copies
from labkit.course.course import Course, refusing, shown_moment
from labkit.course.engine import ResultStore, grade_jobs
from labkit.course.grading import Graded, GradingJob
from labkit.course.model import AnswerMark, Exercise
from labkit.course.notebooks import released_as, released_versions
from labkit.course.sandbox import Limits, require_bubblewrap
from labkit.course.submissions import Submission, find_submissions
from labkit.files import csv_cell, printable

_CLOCKS_DIFFER = 600.0
"""Seconds by which the clock of a student may differ from the teacher's without a word."""

COLUMNS = ("id", "assignment", "score", "max_score", "flags")


@dataclass(frozen=True)
class StudentRow:
    """The mark of one student. problem: why there is none, in a sentence; empty where there is."""

    student: str
    assignment: str
    marks: tuple[AnswerMark, ...]
    flags: tuple[str, ...]
    notes: tuple[str, ...] = ()
    void: str = ""
    problem: str = ""

    @property
    def score(self) -> int:
        """The points; none for a submission that is void."""
        return 0 if self.void else sum(entry.points for entry in self.marks)

    @property
    def max_score(self) -> int:
        """The most that could be had."""
        return sum(entry.max_points for entry in self.marks)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "id": self.student,
            "assignment": self.assignment,
            "score": self.score,
            "max_score": self.max_score,
            "flags": list(self.flags),
            "void": self.void,
            "problem": self.problem,
            "notes": list(self.notes),
            "marks": [entry.to_dict() for entry in self.marks],
        }

    def explain(self) -> str:
        """Each mark with its reason."""
        head = f"{printable(self.student)}: {self.score} of {self.max_score}"
        lines = [f"{head}  {' '.join(self.flags)}".rstrip()]
        void = self.void and f"{self.void} No point below counts."
        lines += [f"  {text}" for text in (self.problem, void, *self.notes) if text]
        lines += [
            f"  {entry.question}: {entry.points} of {entry.max_points}. {entry.why}" for entry in self.marks
        ]
        return "\n".join(map(_shown, lines))


@dataclass(frozen=True)
class ClassGrades:
    """The marks of a class for one assignment. kept: how many results were there from an earlier run."""

    assignment: str
    rows: tuple[StudentRow, ...]
    kept: int = 0

    @property
    def handed_in(self) -> bool:
        """Somebody of the roster handed something in."""
        return any({"missing", "unknown-student"}.isdisjoint(row.flags) for row in self.rows)

    @property
    def failed(self) -> tuple[StudentRow, ...]:
        """The submissions that could not be graded."""
        return tuple(row for row in self.rows if row.problem)

    def to_dict(self) -> dict[str, Any]:
        """The document of ``labkit grade --json``."""
        return {
            "assignment": self.assignment,
            "graded": len(self.rows) - len(self.failed),
            "failed": len(self.failed),
            "kept": self.kept,
            "rows": [row.to_dict() for row in self.rows],
        }

    def __str__(self) -> str:
        counts: dict[str, int] = {}
        for row in self.rows:
            for flag in row.flags:
                word = flag.partition(":")[0]
                counts[word] = counts.get(word, 0) + 1
        full = sum(row.score == row.max_score for row in self.rows)
        flags = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
        lines = [
            f"{printable(row.student):24} {row.score:3} of {row.max_score:3}  {' '.join(row.flags)}".rstrip()
            for row in self.rows
        ]
        lines += [
            "",
            f"{self.assignment}: {len(self.rows)} students, {full} with full marks. {flags}".rstrip(),
        ]
        lines += [f"{printable(row.student)} could not be graded: {row.problem}" for row in self.failed]
        return "\n".join(map(_shown, lines))

    def explain(self) -> str:
        """Every mark of everybody with its reason."""
        return "\n\n".join(row.explain() for row in self.rows)

    def csv(self) -> str:
        """The rows as CSV with the columns ``COLUMNS``; flags are separated by spaces."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in self.rows:
            cells = (printable(row.student), row.assignment, row.score, row.max_score, " ".join(row.flags))
            writer.writerow([csv_cell(str(cell)) for cell in cells])
        return text.getvalue()

    def junit(self) -> bytes:
        """A JUnit report: a case for each question of each student."""
        suite = ElementTree.Element("testsuite", name=self.assignment)
        count = failures = errors = 0
        for row in self.rows:
            for entry in row.marks:
                count += 1
                case = ElementTree.SubElement(
                    suite, "testcase", classname=_xml(row.student), name=f"{entry.question}"
                )
                if row.problem:
                    errors += 1
                    ElementTree.SubElement(case, "error", message=_xml(row.problem))
                elif row.void or not entry.full:
                    failures += 1
                    ElementTree.SubElement(case, "failure", message=_xml(row.void or entry.why))
        suite.attrib |= {"tests": str(count), "failures": str(failures), "errors": str(errors)}
        return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))


def _shown(text: str) -> str:
    """One line for a terminal, whatever a submission made the grader quote; the indent stays."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _xml(text: str) -> str:
    return _shown(text)[:500]


def grade_class(
    course: Course,
    exercise: Exercise,
    place: Path,
    workers: int = 1,
    scheduler: str | None = None,
    rerun: bool = True,
    limits: Limits | None = None,
    on_progress: Callable[[int, int, str], None] = lambda _done, _all, _text: None,
) -> ClassGrades:
    """Grade everything below ``place`` for one assignment; a student without a submission gets a row too.

    Raises:
        UsageError: there is no such place.
        MissingComponent: bubblewrap is needed for this assignment, or the scheduler does not answer.
        StorageError: results cannot be kept.
    """
    if exercise.code:
        require_bubblewrap()
    found = {entry.student: entry for entry in find_submissions(place, exercise.name, course.students)}
    with refusing(course.folder):
        versions = released_versions(exercise.name, course.notebooks)

    def job(student: str) -> GradingJob:
        handed_in = found[student].files.get(f"{exercise.name}.ipynb") if student in found else None
        released = released_as(versions, handed_in)
        return GradingJob(
            exercise.name,
            course.seed,
            course.identity,
            student,
            found.get(student),
            released,
            course.due.get(exercise.name),
            rerun,
            limits or Limits(),
        )

    done = kept = 0

    def tell(result: Graded, before: bool) -> None:
        nonlocal done, kept
        done, kept = done + 1, kept + before
        on_progress(done, len(course.students), result.student)

    store = ResultStore(course.folder / "grades" / exercise.name)
    results = grade_jobs([job(student) for student in course.students], store, workers, scheduler, tell)
    copies = find_copies(results)
    rows = [
        _timed(
            student_row(result, copies.flags.get(result.student, ()), copies.void.get(result.student, "")),
            found.get(result.student),
            course.released.get(exercise.name, 0.0),
        )
        for result in results
    ]
    rows += [
        _stranger(exercise, found[student]) for student in sorted(found) if student not in course.students
    ]
    return ClassGrades(exercise.name, tuple(rows), kept)


def student_row(result: Graded, flags: tuple[str, ...], void: str) -> StudentRow:
    """A student's row of the class; ``void`` says why the result does not count, if it does not."""
    every = (*flags, *(flag for flag in result.flags if flag not in flags))
    return StudentRow(
        result.student, result.assignment, result.marks, every, result.notes, void, result.problem
    )


def _timed(row: StudentRow, submission: Submission | None, released: float) -> StudentRow:
    """The row, flagged where the submission's own time stamp cannot be true: it says nothing of lateness."""
    moment = submission.submitted if submission else None
    if submission and submission.misdated:
        note = "Its own time stamp is not a moment."
    elif moment is None or released - _CLOCKS_DIFFER <= moment <= time.time() + _CLOCKS_DIFFER:
        return row
    else:
        when = f"before the release ({shown_moment(released)})" if moment < released else "in the future"
        note = f"Its own time stamp, {shown_moment(moment)}, is {when}: a clock was wrong, or was set."
    return replace(row, flags=(*row.flags, "clock"), notes=(*row.notes, note))


def _stranger(exercise: Exercise, submission: Submission) -> StudentRow:
    why = f"{printable(submission.student)} is not in the roster."
    marks = tuple(AnswerMark(question.key, 0, question.points, why) for question in exercise.questions)
    return StudentRow(submission.student, exercise.name, marks, ("unknown-student",), problem=why)
