"""Grade one submission: claims as data against the student's variant; code only in the sandbox.

The result names marks and *prints*, short hashes of what the student was given and what the submission says.
Who copied from whom follows from the prints of all results, in `labkit.course.copies`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from labkit import __version__
from labkit.course._forms import Code, Json
from labkit.course._given import given_json
from labkit.course.model import (
    ANSWERS,
    CHALLENGE,
    EVIDENCE,
    AnswerMark,
    Claims,
    Exercise,
    Task,
    canonical,
    mark,
)
from labkit.course.notebooks import Returned
from labkit.course.sandbox import Limits, SandboxDied, SandboxTimeout, bubblewrap, run_cells
from labkit.course.submissions import Submission
from labkit.errors import MissingComponent

VERSION = 3
"""Goes into every result's key: another version of the grader grades anew."""


def grader() -> str:
    """Which grader this is: asked of a worker, it says whether its marks would be ours."""
    return f"{__version__} (grader {VERSION})"


@dataclass(frozen=True)
class GradingJob:
    """Everything that one task of the grader needs; it travels to the worker.

    submission: None where the student handed in nothing. released: the notebook as it was released.
    """

    exercise: str
    seed: bytes = field(repr=False)
    course: str
    student: str
    submission: Submission | None
    released: bytes = field(repr=False)
    due: float | None = None
    rerun: bool = True
    limits: Limits = field(default_factory=Limits)

    @cached_property
    def key(self) -> str:
        """The same for the same work graded in the same way; a result is kept under it."""
        parts = [
            VERSION,
            self.exercise,
            hashlib.sha256(self.seed).hexdigest(),
            self.course,
            self.student,
            self.submission.digest if self.submission else None,
            self.submission.submitted if self.submission else None,
            hashlib.sha256(self.released).hexdigest(),
            self.due,
            self.rerun,
            repr(self.limits),
        ]
        return hashlib.sha256(canonical(parts)).hexdigest()

    @property
    def length(self) -> int:
        """How long grading it may take, for sorting: most where code is to be run that left no answers.

        Code that never ends has left none; a worker that is alone with it at the end keeps the class waiting.
        """
        files = self.submission.files if self.submission else {}
        if f"{self.exercise}.ipynb" not in files:
            return 0
        return 1 if ANSWERS in files else 2


@dataclass(frozen=True)
class Prints:
    """Short hashes by which copies are found.

    owner: first half of REPORTDATA that this student's evidence must have. expected: by question, of the
    right answer, where no two students have the same. whole: of all right answers together. given,
    given_whole: of what the submission says, where that is not right for this student. challenge: the student
    that the submission's challenge names. evidence: whose evidence it has. quote, root: of the files.
    work: by question, of claims that are work rather than an answer, such as calls.
    """

    owner: str = ""
    expected: Mapping[str, str] = field(default_factory=dict)
    whole: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    given_whole: str = ""
    challenge: str = ""
    evidence: str = ""
    quote: str = ""
    root: str = ""
    work: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Graded:
    """One result, before copies are looked for. problem: why it could not be graded; empty where it was."""

    student: str
    assignment: str
    key: str
    marks: tuple[AnswerMark, ...]
    flags: tuple[str, ...]
    prints: Prints
    notes: tuple[str, ...] = ()
    problem: str = ""

    def to_json(self) -> bytes:
        """As it is kept."""
        return canonical(
            {
                "format": "labkit-grade/1",
                "student": self.student,
                "assignment": self.assignment,
                "key": self.key,
                "marks": [asdict(entry) for entry in self.marks],
                "flags": list(self.flags),
                "prints": {name: getattr(self.prints, name) for name in Prints.__dataclass_fields__},
                "notes": list(self.notes),
                "problem": self.problem,
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, data: bytes) -> Graded:
        """What ``to_json`` wrote.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        document = json.loads(data)
        return cls(
            document["student"],
            document["assignment"],
            document["key"],
            tuple(AnswerMark(**entry) for entry in document["marks"]),
            tuple(document["flags"]),
            Prints(**document["prints"]),
            tuple(document["notes"]),
            document["problem"],
        )


def grade(job: GradingJob) -> Graded:
    """Grade one submission; never raises for what a student handed in."""
    from labkit.course.exercises import exercise

    found = exercise(job.exercise)
    task = found.task(job.seed, job.course, job.student)
    own = _own_prints(task)
    if job.submission is None:
        return _nothing(task, job, own, ("missing",), "Nothing was handed in.")
    if job.submission.problem:
        why = f"The submission cannot be read: {job.submission.problem}."
        return _nothing(task, job, own, ("unreadable",), why, why)
    return _Grader(task, job, job.submission).grade(own)


class _Grader:
    """The steps of grading one submission that can be read."""

    def __init__(self, task: Task, job: GradingJob, submission: Submission) -> None:
        self.task = task
        self.job = job
        self.files = submission.files
        self.submitted = submission.submitted
        self.flags: list[str] = []
        self.notes: list[str] = []
        self.void = ""

    def grade(self, own: Prints) -> Graded:
        named = self._challenge()
        answers = self._answers()
        returned = self._notebook()
        if returned is not None and returned.edited(Returned(self.job.released)):
            self.flags.append("edited")
            self.notes.append("Cells with points were edited; the grader does not use what they say.")
        if returned is not None and self._worth_running(returned, answers):
            answers = self._rerun(returned, answers)
        claims = Claims(answers or {}, self.files)
        marks = self._marks(claims)
        if self.job.due is not None and self.submitted is not None and self.submitted > self.job.due:
            self.flags.append("late")
        for flag, raised in (
            ("forged", any(entry.forged for entry in marks)),
            ("timeout", any(entry.timeout for entry in marks)),
        ):
            if raised and flag not in self.flags:
                self.flags.append(flag)
        if not self.files or (not answers and not any(name.startswith(EVIDENCE) for name in self.files)):
            self.notes.append("It has no answers.")
        if self.void:
            marks = [mark(question, 0, self.void) for question in self.task.exercise.questions]
        return Graded(
            self.job.student,
            self.job.exercise,
            self.job.key,
            tuple(marks),
            tuple(self.flags),
            _given_prints(own, self.task, claims, named),
            tuple(self.notes),
        )

    def _challenge(self) -> str:
        """Whose challenge the submission has; an edited one voids it."""
        data = self.files.get(CHALLENGE)
        if data is None or data == self.task.challenge_file():
            return self.job.student
        try:
            document = given_json(data)
            named = str(document["student"])
            same_course = document["course"] == self.job.course
            same = document == json.loads(self.task.challenge_file())
        except (ValueError, KeyError, TypeError):
            named, same_course, same = "", False, False
        if same:  # other line ends, or written anew by an editor
            return self.job.student
        if named and named != self.job.student and same_course:
            self.void = f"The challenge in it is that of {named[:64]}."
            return named
        self.flags.append("forged")
        self.void = "The challenge in it is not the one that was released."
        return ""

    def _answers(self) -> dict[str, Any] | None:
        try:
            given = given_json(self.files[ANSWERS])["answers"]
            return {str(key): value for key, value in given.items()}
        except KeyError:
            return None
        except (ValueError, TypeError, AttributeError) as error:
            why = str(error) if isinstance(error, ValueError) else "it is not what `work.answer` writes"
            self.notes.append(f"{ANSWERS} cannot be read: {why}.")
            return None

    def _notebook(self) -> Returned | None:
        data = self.files.get(f"{self.job.exercise}.ipynb")
        return Returned(data) if data is not None else None

    def _worth_running(self, returned: Returned, answers: dict[str, Any] | None) -> bool:
        """Running its code can change a mark: no answers came with it, or they can be compared.

        Nothing boots inside the sandbox, so the answers about a boot rest on the evidence alone.
        """
        if not self.job.rerun or (answers is not None and self.task.exercise.boots):
            return False
        return returned.differs_from(Returned(self.job.released))

    def _rerun(self, returned: Returned, answers: dict[str, Any] | None) -> dict[str, Any] | None:
        """Run the notebook's code again; its answers count where none were handed in."""
        if bubblewrap() is None:
            if answers is None:
                self.notes.append("Its code was not run: bubblewrap is not installed here.")
            return answers
        files = {**self.files, **self.task.variant.files, CHALLENGE: self.task.challenge_file()}
        files.pop(ANSWERS, None)
        try:
            ran = run_cells(returned.code, files, self.job.limits)
        except SandboxTimeout as late:
            self.flags.append("timeout")
            self.void = f"Its code {late}."
            return answers
        except SandboxDied as death:
            self.notes.append(f"Its code ended early: {death}.")
            return answers
        if answers is None:
            if ran.error:
                self.notes.append(f"Running its code again: {ran.error}.")
            return dict(ran.answers)
        if dict(ran.answers) != answers:
            self.notes.append("Its notebook does not give these answers when it is run again.")
        return answers

    def _marks(self, claims: Claims) -> list[AnswerMark]:
        try:
            return self.task.marks(claims)
        except MissingComponent:
            raise
        except Exception as error:  # a claim that breaks its checker earns nothing, and stops nobody else's
            why = f"The claims are not well formed ({type(error).__name__})."
            return [mark(question, 0, why) for question in self.task.exercise.questions]


def _nothing(
    task: Task, job: GradingJob, own: Prints, flags: tuple[str, ...], why: str, problem: str = ""
) -> Graded:
    marks = tuple(mark(question, 0, why) for question in task.exercise.questions)
    return Graded(job.student, job.exercise, job.key, marks, flags, own, (), problem)


def _short(value: Any) -> str:
    return hashlib.sha256(canonical(_plain(value))).hexdigest()[:24]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return [_plain(entry) for entry in value] if isinstance(value, tuple | list) else value


def _own_prints(task: Task) -> Prints:
    expected = task.variant.expected
    read = {key: task.exercise.question(key).form.read(value) for key, value in expected.items()}
    unique = {key: _short(value) for key, value in read.items() if task.exercise.question(key).unique}
    whole = _short([read[key] for key in sorted(read)]) if len(read) > 1 else ""
    return Prints(owner=task.challenge.owner.hex(), expected=unique, whole=whole)


def _given_prints(own: Prints, task: Task, claims: Claims, named: str) -> Prints:
    from labkit.course._evidence import owner_of_evidence, quote_of  # for who grades, not who waits for it

    given: dict[str, str] = {}
    read: dict[str, Any] = {}
    for question in task.exercise.questions:
        value = claims.answers.get(question.key)
        if question.form.empty(value) or question.key not in task.variant.expected:
            continue
        try:
            read[question.key] = question.form.read(value)
        except (ValueError, TypeError):
            continue
        if question.unique and _short(read[question.key]) != own.expected.get(question.key):
            given[question.key] = _short(read[question.key])
    whole = ""
    if own.whole and sorted(read) == sorted(task.variant.expected):
        whole = _short([read[key] for key in sorted(read)])
    evidence = owner_of_evidence(claims.files)
    quote = quote_of(claims.files)
    root = claims.files.get(f"{EVIDENCE}/root.der")
    return Prints(
        owner=own.owner,
        expected=own.expected,
        whole=own.whole,
        given=given,
        given_whole=whole if whole != own.whole else "",
        challenge=named,
        evidence=evidence.hex() if evidence and evidence.hex() != own.owner else "",
        quote=hashlib.sha256(quote).hexdigest() if quote else "",
        root=hashlib.sha256(root).hexdigest() if root else "",
        work=_work_prints(task, claims),
    )


def _work_prints(task: Task, claims: Claims) -> dict[str, str]:
    found = {}
    for question in task.exercise.questions:
        value = claims.answers.get(question.key)
        if isinstance(question.form, Json | Code) and not question.form.empty(value):
            found[question.key] = _short(value)
    return found


def known(name: str) -> Exercise:
    """The exercise of that name; see ``exercises.exercise``."""
    from labkit.course.exercises import exercise

    return exercise(name)
