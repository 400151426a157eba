"""What a student's notebook uses: the challenge, a place for answers, hints, a self-check that explains."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.course.course import COURSE_VARIABLE
from labkit.course.exercises import exercise
from labkit.course.model import (
    ANSWERS,
    CHALLENGE,
    EVIDENCE,
    AnswerMark,
    Challenge,
    Claims,
    Exercise,
    Question,
    Task,
    Variant,
    answers_file,
    canonical,
)
from labkit.errors import DataError, LabkitError, StorageError, UsageError
from labkit.files import write_whole

if TYPE_CHECKING:
    from labkit.platforms import Attestation

PRACTICE = b"labkit practice: this seed is public"
"""The seed of the variant for everybody without a course; its answers are not secret."""
_PRACTICE_NAME = "practice"


class NotYetRight(AssertionError):
    """An answer that is missing, cannot be read or is known to be wrong; in a notebook it is one sentence."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: where labkit found it out helps no student."""
        return [f"✘ {self}"]


@dataclass
class Work:
    """A student's work on one assignment, in a folder. Answers are kept in ``answers.json`` at once."""

    exercise: Exercise
    challenge: Challenge
    parameters: Mapping[str, Any]
    folder: Path
    answers: dict[str, Any] = field(default_factory=dict)
    _shown: dict[str, int] = field(default_factory=dict)

    @property
    def practice(self) -> bool:
        """Nobody's variant: the one that everybody gets without a course."""
        return self.challenge.course == _PRACTICE_NAME

    def path(self, name: str) -> Path:
        """Where a file of the challenge is."""
        return self.folder / name

    def read(self, name: str) -> bytes:
        """The bytes of a file of the challenge."""
        return self.path(name).read_bytes()

    def answer(self, key: str, value: Any) -> None:
        """Write an answer down; it can be given again until the work is handed in.

        Raises:
            UsageError: there is no such question.
            StorageError: the folder cannot be written.
        """
        self._question(key)
        if isinstance(value, bytes | bytearray):
            value = bytes(value).hex()
        try:
            value = json.loads(json.dumps(value, default=list))
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"The answer to {key} cannot be written down: {error}.", "Use numbers, text, lists."
            ) from None
        self.answers[key] = value
        self._write(ANSWERS, answers_file(self.challenge, self.answers))

    def report_data(self) -> bytes:
        """64 bytes for REPORTDATA that bind student, assignment and the answers the evidence is about."""
        keys = tuple(self.parameters.get("bound", ()))
        return self.challenge.report_data({key: canonical(self.answers.get(key)) for key in keys})

    def keep(self, attested: Attestation) -> None:
        """Keep the evidence of a boot with the answers."""
        for name, data in attested.evidence.files().items():
            self._write(f"{EVIDENCE}/{name}", data)

    def hint(self, key: str) -> None:
        """Print the next hint for a question; each call says more."""
        question = self._question(key)
        shown = self._shown.get(key, 0)
        if not question.hints:
            print(f"{key}: there is no hint. Read the chapter {self.exercise.chapter} again.")  # noqa: T201
            return
        for number, hint in enumerate(question.hints[: shown + 1], 1):
            print(f"Hint {number} of {len(question.hints)}: {hint}")  # noqa: T201
        self._shown[key] = min(shown + 1, len(question.hints))

    def check(self, key: str) -> None:
        """Print what can be said about an answer without the course's secret.

        Raises:
            NotYetRight: there is no answer, it cannot be read, or it is known to be wrong.
        """
        print(f"{key}: {self.review(key)}")  # noqa: T201

    def review(self, key: str) -> str:
        """What can be said about an answer without the course's secret, in a sentence.

        Raises:
            NotYetRight: there is no answer, it cannot be read, or it is known to be wrong.
        """
        question = self._question(key)
        given = self.answers.get(key)
        if question.form.empty(given):
            raise NotYetRight(f"{key}: not answered yet. {question.how}")
        try:
            question.form.read(given)
        except ValueError as error:
            raise NotYetRight(f"{key}: {error}.") from None
        if self.practice:
            return self._practised(question)
        if key in self.exercise.public:
            return self._require(key, Task(self.exercise, self.challenge, Variant(self.parameters))).why
        return "It is written as it should be. Your teacher's grader says whether it is right."

    def hidden_check(self, key: str) -> None:
        """AnswerMark an answer with the course's secret seed, on the teacher's machine.

        Raises:
            NotYetRight: it is not right.
            UsageError: the course is not here.
        """
        if self.practice:
            self._require(key, self.exercise.task(PRACTICE, _PRACTICE_NAME, _PRACTICE_NAME))
            return
        from labkit.course.course import course_folder, open_course

        course = open_course(course_folder(None))
        if course.identity != self.challenge.course:
            raise UsageError(
                f"This work is from another course than {course.name}.",
                f"Name its folder in {COURSE_VARIABLE}.",
            )
        self._require(key, self.exercise.task(course.seed, course.identity, self.challenge.student))

    def _practised(self, question: Question) -> str:
        """What the practice variant says; what is right only after the last hint, not to a first look."""
        key, task = question.key, self.exercise.task(PRACTICE, _PRACTICE_NAME, _PRACTICE_NAME)
        reveal = self._shown.get(key, 0) >= len(question.hints)
        try:
            return self._require(key, replace(task, reveal=reveal)).why
        except NotYetRight as wrong:
            if reveal or key not in task.variant.expected:
                raise
            hint = f'work.hint("{key}") gives a hint; after the last one, what is right is told here.'
            raise NotYetRight(f"{wrong} {hint}") from None

    def _require(self, key: str, task: Task) -> AnswerMark:
        claims = Claims(self.answers, _files(self.folder))
        found = next(mark for mark in task.marks(claims) if mark.question == key)
        if not found.full:
            raise NotYetRight(f"{key}: {found.why}")
        return found

    def _question(self, key: str) -> Question:
        try:
            return self.exercise.question(key)
        except StopIteration:
            names = ", ".join(question.key for question in self.exercise.questions)
            raise UsageError(f"There is no question {key!r}.", f"There are: {names}.") from None

    def _write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        try:
            write_whole(path, data)
        except OSError as error:
            raise StorageError(
                f"{path} cannot be written: {error.strerror}.", "Work in a folder of yours."
            ) from error
        return path

    def __repr__(self) -> str:
        whose = "practice variant" if self.practice else f"variant of {self.challenge.student}"
        return f"Work({self.exercise.name}, {whose})"

    def __str__(self) -> str:
        lines = [f"{self.exercise.title} ({self.exercise.points} points)", f"{self!r}"]
        lines += [f"  {name}: {value}" for name, value in self.parameters.items()]
        lines += ["questions:"]
        lines += [
            f"  {question.key} ({question.points}): {question.title}\n      {question.how}"
            for question in self.exercise.questions
        ]
        key = self.exercise.questions[0].key
        lines += [f'Stuck? work.hint("{key}") gives a hint. Done? work.check("{key}") looks at your answer.']
        return "\n".join(lines)


def open_work(name: str, folder: Path | str | None = None) -> Work:
    """The work on an assignment in a folder; without a challenge there, the practice variant.

    Raises:
        UsageError: there is no such assignment.
        DataError: the challenge is damaged, or another assignment's.
    """
    found = exercise(name)
    place = Path(folder) if folder else Path.cwd()
    if not (place / CHALLENGE).is_file():
        place = _practice(found)
    document = _challenge(place / CHALLENGE)
    if document["assignment"] != name:
        raise DataError(
            f"{place / CHALLENGE} is of the assignment {document['assignment']}, not of {name}.",
            "Keep each assignment in a folder of its own.",
        )
    challenge = Challenge(
        str(document["course"]), str(document["student"]), name, bytes.fromhex(document["nonce"])
    )
    work = Work(found, challenge, document["parameters"], place, _answers(place))
    if COURSE_VARIABLE in os.environ:
        with suppress(LabkitError):  # a check that needs the course says why it is not there
            _bring_back(work)
    return work


def _bring_back(work: Work) -> None:
    """On the teacher's machine: write the given files that are missing.

    nbgrader grades a copy without any notebook but the assignment's own, and an exercise may give others.
    """
    from labkit.course.course import course_folder, open_course

    course = open_course(course_folder(None))
    if course.identity == work.challenge.course:
        task = work.exercise.task(course.seed, course.identity, work.challenge.student)
        for name, data in task.variant.files.items():
            if not work.path(name).exists():
                work._write(name, data)


def _practice(found: Exercise) -> Path:
    """The folder of the practice variant, made anew: an exercise starts without answers."""
    from labkit.settings import Settings

    place = Settings.load().state_dir / "practice" / found.name
    task = found.task(PRACTICE, _PRACTICE_NAME, _PRACTICE_NAME)
    try:
        place.mkdir(parents=True, exist_ok=True)
        # What another version gave, or somebody put there, is not part of the question.
        for folder in {name.partition("/")[0] for name in task.variant.files if "/" in name}:
            shutil.rmtree(place / folder, ignore_errors=True)
        for name, data in {**task.variant.files, CHALLENGE: task.challenge_file()}.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
        (place / ANSWERS).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"{place} cannot be written: {error.strerror}.", "Set LABKIT_STATE_DIR to a folder that can."
        ) from error
    return place


def _challenge(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        for key in ("course", "student", "assignment", "nonce"):
            if not isinstance(document[key], str):
                raise TypeError(key)
        if not isinstance(document["parameters"], dict):
            raise TypeError("parameters")
        bytes.fromhex(document["nonce"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({error!r}).", "Take your teacher's file again.") from error
    assert isinstance(document, dict)
    return document


def _answers(folder: Path) -> dict[str, Any]:
    try:
        given = json.loads((folder / ANSWERS).read_bytes())["answers"]
        return dict(given)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _files(folder: Path) -> dict[str, bytes]:
    from labkit.course.submissions import Unreadable, read_folder

    try:
        return read_folder(folder)
    except Unreadable:
        return {}


def self_report(folder: Path, name: str | None = None) -> list[tuple[str, str]]:
    """For each question of the work in a folder: its key, and what ``check`` says about the answer.

    Raises:
        UsageError, DataError: there is no work there.
    """
    if not (folder / CHALLENGE).is_file():
        raise UsageError(
            f"There is no {CHALLENGE} in {folder.absolute()}.",
            "Go to the folder of your assignment, or name it with --work.",
        )
    assignment = name or str(_challenge(folder / CHALLENGE)["assignment"])
    work = open_work(assignment, folder)
    rows = []
    for question in work.exercise.questions:
        try:
            rows.append((question.key, work.review(question.key)))
        except AssertionError as error:
            rows.append((question.key, str(error).removeprefix(f"{question.key}: ")))
        except LabkitError as error:
            rows.append((question.key, str(error)))
    return rows
