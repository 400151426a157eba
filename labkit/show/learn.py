"""Views of predictions: the question, the prediction beside the outcome, and the list of a chapter."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.show._text import columns
from labkit.show._view import View
from labkit.show.colours import BAD, BLUE, DIM, GOOD, ink
from labkit.show.markup import element, join, prose, table

_MARKS = {"right": ("✔", GOOD), "wrong": ("✘", BAD), "open": ("–", DIM)}
_WORDS = {
    "right": "Predicted rightly.",
    "wrong": "Not as predicted: this is where something is to be learned.",
    "open": "Compare the two yourself.",
    "none": "No prediction was recorded.",
}


def _box(colour: str, *body: object) -> object:
    frame = f"border-left:4px solid {colour};padding:.2em .8em;margin:.4em 0"
    return element("div", *body, style=frame)


def question_view(
    question: str, offers: Sequence[str], hint: str, answer: str | None, note: str, *, numbered: bool = False
) -> View:
    """A question, what may be answered, and the answer if there is one.

    hint: how to answer where nothing is offered. note: what to do next, or where the answer is kept.
    numbered: the offers have the numbers by which they are chosen.
    """
    body: list[object] = [element("b", "Predict: "), prose(question)]
    lines = [f"Predict: {question}"]
    if offers:
        items = (element("li", prose(offer)) for offer in offers)
        body.append(element("ol" if numbered else "ul", *items, style="margin:.2em 0"))
        lines += [f"  {f'{at}.' if numbered else '-'} {offer}" for at, offer in enumerate(offers, 1)]
    elif hint:
        body.append(element("div", element("small", hint)))
        lines.append(f"  ({hint})")
    if answer is not None:
        body.append(element("div", "Your prediction: ", element("b", answer)))
        lines.append(f"Your prediction: {answer}")
    if note:
        body.append(element("div", element("small", note)))
        lines.append(note)
    return View(join([_box(BLUE, *body)]), "\n".join(lines))


def outcome_view(question: str, answer: str | None, outcome: str, judged: str, why: str) -> View:
    """A prediction beside its outcome. judged: right, wrong, open (to be compared by the reader) or none."""
    mark, colour = _MARKS.get(judged, ("", DIM))
    verdict = f"{mark} {_WORDS[judged]}".strip()
    rows = [] if answer is None else [("predicted", answer)]
    rows.append(("outcome", outcome))
    body: list[object] = [
        element("div", element("small", prose(question))),
        table((name, element("b", prose(value))) for name, value in rows),
        element("div", verdict, style=ink(colour)),
    ]
    lines = [question, *(f"  {name:<9}  {value}" for name, value in rows), verdict]
    if why:
        body.append(element("div", prose(why)))
        lines.append(why)
    return View(join([_box(colour, *body)]), "\n".join(lines))


def predictions_view(title: str, rows: Sequence[tuple[str, str, str]]) -> View:
    """The predictions of a chapter: question, answer, and right, wrong, open or none."""
    right = sum(1 for _, _, judged in rows if judged == "right")
    made = sum(1 for _, _, judged in rows if judged != "none")
    total = f"{title}: {made} of {len(rows)} predictions made, {right} of them right."
    cells = [
        (_MARKS[judged][0] if judged in _MARKS else "", question, answer) for question, answer, judged in rows
    ]
    shown = [(mark, prose(question), answer) for mark, question, answer in cells]
    html = join([element("p", element("b", total)), table(shown, ("", "question", "your prediction"))])
    return View(html, f"{total}\n{columns(cells)}")
