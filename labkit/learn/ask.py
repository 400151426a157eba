"""A question in a notebook: a form where a person looks on, its static twin everywhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from labkit.errors import LabkitError, UsageError
from labkit.learn import journal
from labkit.learn.question import Answer, Judged, Kind, PredictionQuestion, make_question
from labkit.settings import Settings
from labkit.show import View
from labkit.show.form import CHOICES, SAID, end, tended
from labkit.show.front_end import Place, is_live, show_view
from labkit.show.learn import outcome_view, predictions_view, question_view
from labkit.show.markup import element

_HINTS = {Kind.TEXT: "in your own words", Kind.NUMBER: "a number", Kind.ORDER: "put these in order"}
_AGAIN = "Recorded. Go on to the next cell; to answer anew, run this cell again."

_UNANSWERED = "To answer, run this cell."
"""What a notebook says that was saved with an open form."""

_ORDER = "Click them in order; click again to take one out."

_MOST_RADIOS = 7
"""What is offered beyond this is a list that opens: several such questions fill no screens."""


class Notebook:
    """The predictions of one kernel: what was asked in it, and the journal that it keeps."""

    def __init__(self, settings: Settings | None = None) -> None:
        """Keep the journal where ``settings`` say; they are read when first needed."""
        self._settings = settings
        self._asked: dict[str, PredictionQuestion] = {}
        self._judged: dict[str, Judged] = {}
        self._answers: dict[str, Answer] = {}

    question = staticmethod(make_question)

    def pose(self, question: PredictionQuestion, *, numbered: bool = False) -> View:
        """A question as it is asked, without an answer; ``numbered``: a choice is answered by its number."""
        self._asked[question.id] = question
        self._judged[question.id] = Judged.NONE
        self._answers.pop(question.id, None)
        return self._view(question, numbered=numbered)

    def record(self, question: PredictionQuestion, value: object) -> View:
        """Keep an answer; the question with it.

        Raises:
            UsageError: the answer does not fit the question.
            StorageError: it cannot be kept.
        """
        answer = question.read(value)
        self._answers[question.id] = answer
        self._judged[question.id] = Judged.OPEN
        raw = list(answer) if isinstance(answer, tuple) else answer
        line = {"id": question.id, "question": question.text, "raw": raw, "answer": question.words(answer)}
        journal.append(self._file(), line)
        return self._view(question, _AGAIN)

    def tell(self, id: str, outcome: object, why: str) -> View:  # noqa: A002
        """The prediction beside the outcome; what it came to is recorded.

        Raises:
            UsageError: nothing was asked under this id.
            StorageError: the outcome cannot be kept.
        """
        if id not in self._asked:
            remedy = "Run the cell with the question first."
            raise UsageError(f"Nothing was asked under {id!r} in this notebook.", remedy)
        question, answer = self._asked[id], self._answers.get(id)
        judged = self._judged[id] = question.judge(answer, outcome)
        found = question.words(outcome)
        if answer is not None:
            line = {"id": id, "question": question.text, "outcome": found, "judged": judged.value}
            journal.append(self._file(), line)
        said = question.words(answer) if answer is not None else None
        return outcome_view(question.text, said, found, judged.value, why)

    def summary(self, chapter: str) -> View:
        """What was predicted in a chapter."""
        rows = []
        for id, question in self._asked.items():  # noqa: A001
            if question.chapter == chapter:
                said = question.words(self._answers[id]) if id in self._answers else "nothing"
                rows.append((question.text, said, self._judged[id].value))
        return predictions_view(f"Chapter {chapter}", rows)

    def ask(self, question: PredictionQuestion) -> None:
        """Show a question in the running cell: as a form where a person looks on."""
        view = self.pose(question)
        if not is_live((self._settings or Settings.load()).ui):
            show_view(view)
            return
        place = Place()

        def give(value: object) -> str:
            try:
                view = self.record(question, value)
            except LabkitError as error:
                return f"{error.message} {error.remedy or ''}"
            place.show(view)
            end(form, view)
            return ""

        form = answer_form(question, journal.last_answer(self._file(), question), give)
        place.show(self._view(question, _UNANSWERED), tended(form, question.text))

    def _view(self, question: PredictionQuestion, note: str = "", *, numbered: bool = False) -> View:
        answer = self._answers.get(question.id)
        said = question.words(answer) if answer is not None else None
        hint = _HINTS.get(question.kind, "")
        if question.kind is Kind.NUMBER and question.unit:
            hint = f"a number, in {question.unit}"
        return question_view(question.text, question.offers, hint, said, note, numbered=numbered)

    def _file(self) -> Path:
        return journal.journal_file(Path.cwd(), self._settings or Settings.load())


def answer_form(question: PredictionQuestion, earlier: Answer | None, give: Callable[[object], str]) -> Any:
    """A form of widgets for a question. ``give`` takes the answer and returns a complaint or nothing."""
    # Imported here: outside of notebooks nothing needs the widget machinery.
    import ipywidgets as widgets

    wide = widgets.Layout(width="auto", max_width="40em")
    complaint = widgets.HTML()
    complaint.add_class(SAID)
    record = widgets.Button(description="Record", button_style="primary", tooltip="Keep this prediction")
    head = widgets.HTML(str(question_view(question.text, (), "", None, "").html))
    field, value = _field(widgets, question, earlier, wide)

    def clicked(_: Any) -> None:
        answer = value()
        if answer in (None, "", []):
            complaint.value = "<i>Answer first; a guess is as good as any.</i>"
        elif wrong := give(answer):
            complaint.value = str(element("i", wrong))

    record.on_click(clicked)
    return widgets.VBox([head, field, widgets.HBox([record, complaint])])


def _field(
    widgets: Any, question: PredictionQuestion, earlier: Answer | None, wide: Any
) -> tuple[Any, Callable[[], object]]:
    """What a person fills in, and how to read it."""
    if question.kind is Kind.CHOICE:
        chosen = earlier if earlier in question.offers else None
        if len(question.offers) > _MOST_RADIOS:
            options = [("choose one", ""), *((offer, offer) for offer in question.offers)]
            field = widgets.Dropdown(options=options, value=chosen or "", description="answer")
            return field, lambda: field.value
        return _radio_field(widgets, question, chosen, wide)
    if question.kind is Kind.ORDER:
        return _order_field(widgets, question)
    if question.kind is Kind.NUMBER:
        said = f"{earlier:g}" if isinstance(earlier, float) else ""
        number = widgets.Text(value=said, placeholder="a number", layout=widgets.Layout(width="10em"))
        return widgets.HBox([number, widgets.Label(question.unit)]), lambda: number.value
    said = str(earlier) if earlier is not None else ""
    text = widgets.Textarea(value=said, placeholder="in your own words", layout=wide)
    return text, lambda: text.value


def _radio_field(
    widgets: Any, question: PredictionQuestion, chosen: str | None, wide: Any
) -> tuple[Any, Callable[[], object]]:
    """A widget for each choice: in one for all, the arrow keys choose, and a notebook takes those keys."""
    radios = [
        widgets.RadioButtons(options=[offer], value=offer if offer == chosen else None, layout=wide)
        for offer in question.offers
    ]

    def pick(change: Any) -> None:
        if change["new"] is not None:
            for radio in radios:
                if radio is not change["owner"]:
                    radio.value = None

    for radio in radios:
        radio.observe(pick, names="value")
    group = widgets.VBox(radios)
    group.add_class(CHOICES)
    return group, lambda: next((radio.value for radio in radios if radio.value), None)


def _order_field(widgets: Any, question: PredictionQuestion) -> tuple[Any, Callable[[], object]]:
    """Buttons that are clicked one after the other; another click takes the answer out again."""
    picked: list[str] = []
    line = widgets.Label(_ORDER)
    buttons = [
        widgets.Button(description=offer, layout=widgets.Layout(width="auto")) for offer in question.offers
    ]

    def draw() -> None:
        line.value = " → ".join(picked) or _ORDER
        for button in buttons:
            button.button_style = "info" if button.description in picked else ""

    def pick(button: Any) -> None:
        # It stays enabled: a button that is disabled loses the keyboard, and with it the place on the page.
        (picked.remove if button.description in picked else picked.append)(button.description)
        draw()

    for button in buttons:
        button.on_click(pick)
    return widgets.VBox([widgets.HBox(buttons), line]), lambda: list(picked)
