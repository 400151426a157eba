"""A question to predict the answer of, and what an answer is worth: data and rules, nothing shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from labkit.errors import UsageError

_ID = re.compile(r"[\w-]+\.[\w-]+")
_LONGEST = 2000

Answer = str | float | tuple[str, ...]
"""What a person predicts: words, a number, or words in an order."""


class Kind(StrEnum):
    """How a question is answered."""

    CHOICE = "choice"
    TEXT = "text"
    NUMBER = "number"
    ORDER = "order"


class Judged(StrEnum):
    """What an answer came to: ``open`` where only its author can tell, ``none`` where there is none."""

    RIGHT = "right"
    WRONG = "wrong"
    OPEN = "open"
    NONE = "none"


@dataclass(frozen=True)
class PredictionQuestion:
    """A question of a chapter.

    id: ``chapter.word``. offers: what to choose from, or what to put in order.
    tolerance: how far a number may be off, in ``unit``.
    """

    id: str
    text: str
    kind: Kind
    offers: tuple[str, ...] = ()
    tolerance: float = 0.0
    unit: str = ""

    @property
    def chapter(self) -> str:
        """What stands before the dot of the id."""
        return self.id.partition(".")[0]

    def read(self, answer: object) -> Answer:
        """An answer in this question's form.

        Raises:
            UsageError: it is none of what is offered, no number, or too long.
        """
        if self.kind is Kind.ORDER:
            words = tuple(str(word) for word in answer) if isinstance(answer, list | tuple) else ()
            if sorted(words) != sorted(self.offers):
                raise UsageError(f"{self.id}: put all of {list(self.offers)} in order.", "Name each once.")
            return words
        if self.kind is Kind.NUMBER:
            try:
                return float(str(answer).strip().removesuffix(self.unit).replace(",", ""))
            except ValueError:
                raise UsageError(f"{self.id}: {answer!r} is not a number.", "Write digits, as 42.") from None
        text = str(answer).strip()[:_LONGEST]
        if self.kind is Kind.CHOICE and text not in self.offers:
            raise UsageError(f"{self.id}: {text!r} is not offered.", f"Choose from {list(self.offers)}.")
        return text

    def judge(self, answer: Answer | None, outcome: object) -> Judged:
        """What an answer is worth beside the outcome."""
        if answer is None:
            return Judged.NONE
        if self.kind is Kind.TEXT:
            return Judged.OPEN
        if self.kind is Kind.NUMBER:
            right = abs(float(str(answer)) - float(str(outcome))) <= self.tolerance
        elif self.kind is Kind.ORDER:
            right = isinstance(outcome, list | tuple) and answer == tuple(str(word) for word in outcome)
        else:
            right = answer == str(outcome)
        return Judged.RIGHT if right else Judged.WRONG

    def words(self, value: object) -> str:
        """An answer or outcome as it is shown."""
        if isinstance(value, list | tuple):
            return " → ".join(str(word) for word in value)
        if self.kind is Kind.NUMBER:
            return f"{float(str(value)):g} {self.unit}".rstrip()
        return str(value)


def make_question(
    id: str,  # noqa: A002
    text: str,
    choices: Sequence[object] = (),
    order: Sequence[object] = (),
    tolerance: float | None = None,
    unit: str = "",
) -> PredictionQuestion:
    """The question that these words describe: a choice, an order, a number, else free text.

    Raises:
        UsageError: the id is no ``chapter.word``, or more than one kind was described.
    """
    if not _ID.fullmatch(id):
        raise UsageError(
            f"{id!r} is not an id of a prediction.", "Write `chapter.word`, as `03.longest-stage`."
        )
    kinds = [
        kind
        for kind, given in (
            (Kind.CHOICE, bool(choices)),
            (Kind.ORDER, bool(order)),
            (Kind.NUMBER, tolerance is not None),
        )
        if given
    ]
    if len(kinds) > 1:
        raise UsageError(
            f"{id}: a prediction is of one kind.", "Give one of `choices`, `order` and `tolerance`."
        )
    offers = tuple(str(word) for word in (*choices, *order))
    if len(set(offers)) != len(offers):
        raise UsageError(f"{id}: two of what is offered are equal.", "Offer different words.")
    return PredictionQuestion(id, text, kinds[0] if kinds else Kind.TEXT, offers, tolerance or 0.0, unit)
