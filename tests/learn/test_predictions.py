"""Predictions: what fits a question, what it is worth, what is kept, and what is shown to whom."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from labkit.errors import StorageError, UsageError
from labkit.learn.ask import Notebook, answer_form
from labkit.learn.journal import append, fold, journal_file, last_answer, read_lines
from labkit.learn.progressing import questions
from labkit.learn.question import Judged, Kind
from labkit.settings import Settings, Ui

CHOICE = Notebook.question("03.stage", "Which?", ["kernel", "init"])
NUMBER = Notebook.question("03.count", "How many?", tolerance=2, unit="events")
ORDER = Notebook.question("03.order", "In which order?", order=["a", "b", "c"])
TEXT = Notebook.question("03.why", "Why?")


def test_the_kind_follows_from_what_is_given() -> None:
    assert [question.kind for question in (CHOICE, NUMBER, ORDER, TEXT)] == [
        Kind.CHOICE,
        Kind.NUMBER,
        Kind.ORDER,
        Kind.TEXT,
    ]


@pytest.mark.parametrize(
    "words",
    [
        {"id": "stage"},
        {"id": "03 stage.x"},
        {"choices": ["a"], "tolerance": 1},
        {"choices": ["a"], "order": ["b"]},
        {"choices": ["a", "a"]},
    ],
)
def test_a_question_that_makes_no_sense_is_refused(words: dict[str, object]) -> None:
    given = {"id": "03.x", "text": "?", **words}
    with pytest.raises(UsageError):
        Notebook.question(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("question", "answer", "outcome", "judged"),
    [
        (CHOICE, "kernel", "kernel", Judged.RIGHT),
        (CHOICE, "init", "kernel", Judged.WRONG),
        (NUMBER, "4", 6, Judged.RIGHT),
        (NUMBER, "4 events", 7, Judged.WRONG),
        (NUMBER, "1,004", 1004, Judged.RIGHT),
        (ORDER, ["a", "b", "c"], ["a", "b", "c"], Judged.RIGHT),
        (ORDER, ["b", "a", "c"], ["a", "b", "c"], Judged.WRONG),
        (TEXT, "because", "because", Judged.OPEN),
    ],
)
def test_an_answer_is_judged(question: object, answer: object, outcome: object, judged: Judged) -> None:
    assert isinstance(question, type(CHOICE))
    assert question.judge(question.read(answer), outcome) is judged
    assert question.judge(None, outcome) is Judged.NONE


@pytest.mark.parametrize(
    ("question", "answer"), [(CHOICE, "firmware"), (NUMBER, "many"), (ORDER, ["a", "b"]), (ORDER, "abc")]
)
def test_an_answer_that_does_not_fit_is_refused(question: object, answer: object) -> None:
    assert isinstance(question, type(CHOICE))
    with pytest.raises(UsageError, match=question.id):
        question.read(answer)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({}, state_dir=tmp_path / "state", cache_dir=tmp_path / "cache", ui=Ui.STATIC)


def test_answers_are_kept_beside_the_learners_notebooks(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work/.labkit").mkdir(parents=True)
    (tmp_path / "work/sub").mkdir()
    monkeypatch.chdir(tmp_path / "work/sub")
    notebook = Notebook(settings)
    notebook.pose(CHOICE)
    notebook.record(CHOICE, "init")
    notebook.tell("03.stage", "kernel", "")
    entry = fold(read_lines(tmp_path / "work/.labkit/predictions.jsonl"))["03.stage"]
    assert (entry.answer, entry.outcome, entry.judged) == ("init", "kernel", Judged.WRONG)
    assert last_answer(journal_file(Path.cwd(), settings), CHOICE) == "init"


def test_elsewhere_they_are_kept_in_the_state_directory(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Notebook(settings).record(TEXT, "so")
    assert [line["raw"] for line in read_lines(tmp_path / "state/learner/predictions.jsonl")] == ["so"]


def test_nothing_is_revealed_before_and_nothing_kept_without_an_answer(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = Notebook(settings)
    asked = notebook.pose(CHOICE)
    assert "kernel" in asked.text
    assert "outcome" not in asked.text
    told = notebook.tell("03.stage", "kernel", "Because <it> is.")
    assert "No prediction was recorded." in told.text
    assert "predicted" not in told.text, "it is said once"
    assert "Because &lt;it&gt; is." in told.html
    assert not (tmp_path / "state").exists()
    assert "0 of 1 predictions made" in notebook.summary("03").text


def test_without_a_person_an_earlier_answer_changes_nothing(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def shown() -> str:
        notebook = Notebook(settings)
        notebook.ask(CHOICE)
        return capsys.readouterr().out + notebook.tell("03.stage", "init", "").text

    before = shown()
    Notebook(settings).record(CHOICE, "init")
    assert shown() == before


def test_what_was_never_asked_cannot_be_told(settings: Settings) -> None:
    with pytest.raises(UsageError, match="Nothing was asked"):
        Notebook(settings).tell("03.other", 1, "")


def test_a_damaged_journal_loses_only_what_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "j"
    append(file, {"id": "03.a", "answer": "x", "raw": "x"})
    with file.open("ab") as stream:
        stream.write(b'{"id": 5}\n[]\n\xff\xfe\n{"id": "03.b", "answ\n')
    append(file, {"id": "03.c", "outcome": "y", "judged": "nonsense"})
    assert list(fold(read_lines(file))) == ["03.a", "03.c"]


def test_a_new_answer_waits_for_its_outcome(tmp_path: Path) -> None:
    lines = [
        {"id": "03.a", "answer": "x"},
        {"id": "03.a", "outcome": "x", "judged": "right"},
        {"id": "03.a", "answer": "y"},
    ]
    entry = fold(lines)["03.a"]
    assert (entry.answer, entry.outcome, entry.judged) == ("y", None, Judged.OPEN)


def test_a_journal_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="not kept"):
        append(tmp_path / "file" / "j", {"id": "03.a"})


def test_a_kernel_without_a_person_shows_the_same_cells(tmp_path: Path) -> None:
    """The static form, as papermill and nbval get it: no widget, no display id left open."""
    import nbformat
    from nbclient import NotebookClient

    source = 'from labkit import lab\nlab.predict("03.x", "Which?", ["a", "b"])\nlab.outcome("03.x", "a")'
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = notebook.cells[0].outputs
    assert [output.output_type for output in outputs] == ["display_data", "display_data"]
    assert set(outputs[0].data) == {"text/plain", "text/html"}
    assert "widget" not in json.dumps(outputs)


def taken() -> tuple[list[object], Callable[[object], str]]:
    """What a form gave, and what takes it."""
    given: list[object] = []

    def give(value: object) -> str:
        given.append(value)
        return ""

    return given, give


def test_many_choices_are_a_list_that_opens() -> None:
    many = Notebook.question("03.x", "?", range(8))
    given, give = taken()
    _, field, buttons = answer_form(many, "3", give).children
    assert (type(field).__name__, field.value) == ("Dropdown", "3")
    field.value = ""
    buttons.children[0].click()
    assert given == []
    field.value = "5"
    buttons.children[0].click()
    assert given == ["5"]


def test_a_journal_that_was_sent_breaks_nothing(tmp_path: Path) -> None:
    file = tmp_path / "predictions.jsonl"
    deep = '{"id": "03.a", "x": ' + "[" * 100_000 + "]" * 100_000 + "}"
    rows = [deep, '{"id": "03.a", "judged": []}', '{"id": "03.b", "judged": {}, "question": 5}', "[]", "5"]
    file.write_text("\n".join(rows))
    assert [entry.judged for entry in fold(read_lines(file)).values()] == [Judged.NONE, Judged.NONE]
    os.mkfifo(tmp_path / "pipe")
    assert read_lines(tmp_path / "pipe") == []


def test_each_choice_is_reached_without_arrow_keys_and_one_is_chosen() -> None:
    given, give = taken()
    question = Notebook.question("03.x", "?", ["a", "b", "c"])
    _, field, buttons = answer_form(question, "b", give).children
    radios = field.children
    assert [(radio.options, radio.value) for radio in radios] == [
        (("a",), None),
        (("b",), "b"),
        (("c",), None),
    ]
    radios[2].value = "c"
    assert [radio.value for radio in radios] == [None, None, "c"]
    buttons.children[0].click()
    assert given == ["c"]


def test_what_is_put_in_order_keeps_the_keyboard_and_can_be_taken_out() -> None:
    given, give = taken()
    question = Notebook.question("03.x", "?", order=["a", "b", "c"])
    _, field, buttons = answer_form(question, None, give).children
    row, line = field.children
    a, b, c = row.children
    for button in (b, a, c, b, b):
        button.click()
        assert not button.disabled
    assert line.value == "a → c → b"
    buttons.children[0].click()
    assert given == [["a", "c", "b"]]


@pytest.mark.parametrize("source", ["lab.predict('\0')", f"{'[' * 3000}", "-" * 200_000 + "1"])
def test_a_cell_that_is_no_python_asks_nothing(source: str, tmp_path: Path) -> None:
    cells = [{"cell_type": "code", "source": text} for text in (source, "lab.predict('a', 'What?')")]
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": cells}))
    assert questions(tmp_path / "n.ipynb") == [("a", "What?")]
    (tmp_path / "n.ipynb").write_text("[" * 100_000)
    assert questions(tmp_path / "n.ipynb") == []
