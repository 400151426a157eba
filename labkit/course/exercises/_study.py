"""A parameter study with papermill: one notebook, many memory sizes, a question for the whole table."""

from __future__ import annotations

import csv
import io
import json

from labkit.course._forms import Json, Number
from labkit.course.draw import Draw
from labkit.course.exercises._mrtd import small_tdvf
from labkit.course.model import (
    AnswerMark,
    Claims,
    Exercise,
    Question,
    Task,
    Variant,
    canonical,
    check_answer,
    mark,
)
from labkit.measure import BootInputs, predict, read_tdvf

_ROWS = 8
_CELL = """\
from labkit.measure import BootInputs, predict, read_tdvf

firmware = read_tdvf(open(firmware_file, "rb").read())
first = predict(BootInputs(firmware=firmware, memory=memory << 20)).events[0]
print(first.label, first.digest.hex())
"""


def hob_digest(firmware: bytes, memory: int) -> str:
    """The digest of the memory layout that a TD with ``memory`` MiB measures first into RTMR0."""
    event = predict(BootInputs(firmware=read_tdvf(firmware), memory=memory << 20)).events[0]
    assert event.digest is not None
    return event.digest.hex()


def _notebook() -> bytes:
    cells = [
        ("parameters", 'memory = 512  # MiB\nfirmware_file = "../firmware.fd"'),
        ("measure", _CELL.rstrip("\n")),
    ]
    document = {
        "cells": [
            {
                "cell_type": "code",
                "execution_count": None,
                "id": name,
                "metadata": {"tags": ["parameters"]} if name == "parameters" else {},
                "outputs": [],
                "source": source,
            }
            for name, source in cells
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return canonical(document, indent=1)


def _make(draw: Draw) -> Variant:
    firmware = small_tdvf(draw.child("firmware"))
    memories = sorted(draw.sample([128 + 64 * step for step in range(90)], _ROWS))
    wanted = draw.choice(memories)
    rows = io.StringIO()
    csv.writer(rows, lineterminator="\n").writerows([["memory"], *([memory] for memory in memories)])
    return Variant(
        parameters={
            "notebook": "notebook/measure-one.ipynb",
            "sizes": "sizes.csv",
            "firmware": "firmware.fd",
            "looked_for": hob_digest(firmware, wanted),
        },
        files={
            "notebook/measure-one.ipynb": _notebook(),
            "sizes.csv": rows.getvalue().encode(),
            "firmware.fd": firmware,
        },
        expected={"memory": wanted, "results": {str(size): hob_digest(firmware, size) for size in memories}},
    )


def _check(task: Task, claims: Claims) -> list[AnswerMark]:
    memory, results = task.exercise.questions
    return [check_answer(task, memory, claims), _results(task, results, claims)]


def _results(task: Task, question: Question, claims: Claims) -> AnswerMark:
    given = claims.answers.get(question.key)
    if question.form.empty(given):
        return mark(question, 0, "Not answered.")
    if not isinstance(given, dict):
        return mark(question, 0, "The answer cannot be read: write a dictionary.")
    expected = task.variant.expected[question.key]
    right = sum(str(given.get(size, "")).lower() == digest for size, digest in expected.items())
    points = question.points * right // len(expected)
    return mark(question, points, f"{right} of {len(expected)} rows are right.")


def _solve(task: Task) -> Claims:
    return Claims(json.loads(canonical(dict(task.variant.expected))))


EXERCISE = Exercise(
    name="study",
    title="A parameter study",
    chapter="flow",
    questions=(
        Question(
            "memory",
            "Which memory size (MiB) gives the digest that is looked for?",
            1,
            Number(),
            ("Run the notebook once for each row of sizes.csv, and compare.",),
        ),
        Question(
            "results",
            "The digest for each size",
            4,
            Json("a dictionary: the size as text, and the digest as hexadecimal digits"),
            (
                '`papermill.execute_notebook(source, target, parameters={"memory": …})` runs it once.',
                "The digest stands in the output of the last cell of each target.",
                "`labkit sweep notebook/measure-one.ipynb --over sizes.csv` does all rows at once.",
            ),
            unique=True,
        ),
    ),
    make=_make,
    check=_check,
    solve=_solve,
)
