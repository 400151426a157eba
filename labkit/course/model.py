"""What an exercise is made of, as data: questions, a variant for one student, claims, marks.

An exercise is pure: ``make`` draws a variant from the course's seed, ``check`` marks claims against it.
Neither boots anything, opens a file or asks the time, so that a grader can do both for any student anywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from labkit.course._forms import Form, ShownForm
from labkit.course.draw import Draw

CHALLENGE = "challenge.json"
ANSWERS = "answers.json"
EVIDENCE = "evidence"
"""The folder below the work folder where evidence is kept."""


@dataclass(frozen=True)
class Question:
    """One question with its points.

    form: how an answer is written. hints: from a nudge to nearly the answer. unique: no two students have the
    same right answer, so that another student's answer shows where it came from.
    """

    key: str
    title: str
    points: int
    form: Form
    hints: tuple[str, ...] = ()
    unique: bool = False

    @property
    def how(self) -> str:
        """How to answer, as a sentence."""
        shown = isinstance(self.form, ShownForm)
        return f"It is shown by {self.form.about}." if shown else f"Write {self.form.about}."


@dataclass(frozen=True)
class Challenge:
    """Whose work it is: what ``challenge.json`` says besides the parameters. nonce: 32 bytes."""

    course: str
    student: str
    assignment: str
    nonce: bytes

    @property
    def owner(self) -> bytes:
        """32 bytes that stand for this student's work on this assignment, and for nobody else's."""
        whose = ["labkit-submission/1", self.course, self.student, self.assignment, self.nonce.hex()]
        return hashlib.sha256(canonical(whose)).digest()

    def report_data(self, files: Mapping[str, bytes]) -> bytes:
        """The 64 bytes of REPORTDATA: half says whose work a quote is, half binds these files to it."""
        digests = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
        return self.owner + hashlib.sha256(canonical(digests)).digest()


@dataclass(frozen=True)
class Variant:
    """One student's task.

    parameters, files: what the student gets. signed: those files whose bytes are others each time they
    are made, since a signature is, while what they say stays. expected: the right answers by question.
    hidden: what only the grader and the worked solution use.
    """

    parameters: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    expected: Mapping[str, Any] = field(default_factory=dict, repr=False)
    hidden: Mapping[str, Any] = field(default_factory=dict, repr=False)
    signed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Claims:
    """What a submission says: answers by question, and its other files by name; nothing of it is believed."""

    answers: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class AnswerMark:
    """The points for one question, and why in a sentence. forged: the claim was made up or edited.

    timeout: code that was to show it did not end.
    """

    question: str
    points: int
    max_points: int
    why: str
    forged: bool = False
    timeout: bool = False

    @property
    def full(self) -> bool:
        """All points."""
        return self.points == self.max_points

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "question": self.question,
            "points": self.points,
            "max_points": self.max_points,
            "why": self.why,
        }


@dataclass(frozen=True)
class Task:
    """An exercise as one student has it: whose it is, and the variant.

    reveal: a mark for a wrong answer tells the right one.
    """

    exercise: Exercise
    challenge: Challenge
    variant: Variant
    reveal: bool = True

    def challenge_file(self) -> bytes:
        """The bytes of ``challenge.json``."""
        return canonical(
            {
                "format": "labkit-challenge/1",
                "course": self.challenge.course,
                "student": self.challenge.student,
                "assignment": self.challenge.assignment,
                "nonce": self.challenge.nonce.hex(),
                "parameters": self.variant.parameters,
                "files": {
                    name: hashlib.sha256(self.variant.files[name]).hexdigest()
                    for name in sorted(self.variant.files.keys() - self.variant.signed)
                },
            },
            indent=1,
        )

    def marks(self, claims: Claims) -> list[AnswerMark]:
        """AnswerMark every question; a checker that a hostile claim breaks gives no points for it."""
        return self.exercise.check(self, claims)


@dataclass(frozen=True)
class Exercise:
    """One exercise. ``name`` is also the assignment's and the notebook's.

    chapter: the chapter it belongs to. solve: a worked solution as claims. code: the grader runs code of the
    submission. boots: the student's work boots a TDVM. public: questions that can be marked from what the
    student has, without the seed, so that the self-check marks them.
    """

    name: str
    title: str
    chapter: str
    questions: tuple[Question, ...]
    make: Callable[[Draw], Variant]
    check: Callable[[Task, Claims], list[AnswerMark]]
    solve: Callable[[Task], Claims]
    code: bool = False
    boots: bool = False
    public: frozenset[str] = frozenset()

    @property
    def points(self) -> int:
        """The most that can be had."""
        return sum(question.points for question in self.questions)

    def question(self, key: str) -> Question:
        """The question of that key.

        Raises:
            KeyError: there is none.
        """
        return next(question for question in self.questions if question.key == key)

    def task(self, seed: bytes, course: str, student: str) -> Task:
        """The exercise for one student of a course."""
        draw = Draw(seed, course, student, self.name)
        challenge = Challenge(course, student, self.name, draw.child("nonce").bytes(32))
        return Task(self, challenge, self.make(draw.child("variant")))


def canonical(document: Any, indent: int | None = None) -> bytes:
    """JSON with one way to write each document.

    Half of a surrogate pair, which is no text, stays the escape that it was in JSON.
    """
    text = json.dumps(document, indent=indent, sort_keys=True, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def answers_file(challenge: Challenge, answers: Mapping[str, Any]) -> bytes:
    """The bytes of ``answers.json``."""
    head = {"student": challenge.student, "assignment": challenge.assignment}
    return canonical({"format": "labkit-answers/1", **head, "answers": answers}, indent=1)


def check_answers(task: Task, claims: Claims) -> list[AnswerMark]:
    """Compare every answer with the expected one; the usual ``check``."""
    return [check_answer(task, question, claims) for question in task.exercise.questions]


def check_answer(task: Task, question: Question, claims: Claims) -> AnswerMark:
    """The mark for one answer that is right or wrong."""
    value, nothing = answer_of(question, claims)
    if nothing:
        return nothing
    if value == question.form.read(task.variant.expected[question.key]):
        return mark(question, question.points, "Right.")
    told = f" {question.form.shown(task.variant.expected[question.key])}" if task.reveal else ""
    return mark(question, 0, f"Wrong.{told}")


def answer_of(question: Question, claims: Claims) -> tuple[Any, AnswerMark | None]:
    """The value of an answer; or why there is none, as a mark without points."""
    given = claims.answers.get(question.key)
    if question.form.empty(given):
        return None, mark(question, 0, "Not answered.")
    try:
        return question.form.read(given), None
    except ValueError as error:
        return None, mark(question, 0, f"The answer cannot be read: {error}.")


def mark(
    question: Question, points: int, why: str, *, forged: bool = False, timeout: bool = False
) -> AnswerMark:
    """A mark for a question, never more than its points."""
    return AnswerMark(question.key, min(points, question.points), question.points, why, forged, timeout)


def solve_by_answers(task: Task) -> Claims:
    """The expected answers as claims; the usual ``solve``."""
    return Claims(dict(task.variant.expected))
