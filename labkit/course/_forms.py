"""How answers are written: each form reads what a student wrote into one value, or says what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

_LONGEST = 100_000


class Form(Protocol):
    """A way to write an answer."""

    @property
    def about(self) -> str:
        """What to write, for people."""

    def empty(self, given: Any) -> bool:
        """Nothing was answered yet."""

    def read(self, given: Any) -> Any:
        """The value.

        Raises:
            ValueError: it is not written this way; the message says how.
        """

    def shown(self, expected: Any) -> str:
        """The right answer in a sentence, for the teacher's explanation."""


class _Base:
    def empty(self, given: Any) -> bool:
        return given is None or given in ("", "?", [], {})

    def shown(self, expected: Any) -> str:
        return f"Right is {_short(expected)}."


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


@dataclass(frozen=True)
class Hex(_Base):
    """Bytes, as hexadecimal digits."""

    size: int

    @property
    def about(self) -> str:
        return f"{self.size} bytes as {2 * self.size} hexadecimal digits"

    def read(self, given: Any) -> bytes:
        if isinstance(given, bytes):
            given = given.hex()
        if not isinstance(given, str) or len(given) > _LONGEST:
            raise ValueError(f"write {self.about}")
        digits = "".join(given.split()).lower().removeprefix("0x")
        try:
            data = bytes.fromhex(digits)
        except ValueError:
            raise ValueError(f"write {self.about}; there are other characters in it") from None
        if len(data) != self.size:
            raise ValueError(f"write {self.about}; these are {len(data)} bytes")
        return data


@dataclass(frozen=True)
class Number(_Base):
    """A whole number."""

    least: int = 0
    most: int = 1 << 64

    @property
    def about(self) -> str:
        return "a whole number"

    def read(self, given: Any) -> int:
        if isinstance(given, str) and len(given) < 40:
            try:
                given = int(given.strip(), 0)
            except ValueError:
                raise ValueError(f"{given!r} is not a number") from None
        if not isinstance(given, int) or isinstance(given, bool):
            raise ValueError("write a whole number")
        if not self.least <= given <= self.most:
            raise ValueError(f"{given} is not from {self.least} to {self.most}")
        return given


@dataclass(frozen=True)
class LineOfText(_Base):
    """One line of text, compared without the space around it."""

    choices: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        return f"one of: {', '.join(self.choices)}" if self.choices else "one line of text"

    def read(self, given: Any) -> str:
        if not isinstance(given, str) or len(given) > _LONGEST:
            raise ValueError("write text in quotation marks")
        word = " ".join(given.split())
        if not self.choices:
            return word
        for choice in self.choices:
            if choice.lower() == word.lower():
                return choice
        raise ValueError(f"{word[:60]!r} is none of: {', '.join(self.choices)}")


@dataclass(frozen=True)
class Many(_Base):
    """A list of answers of one form, in an order that counts, or does not."""

    item: Form
    ordered: bool = True

    @property
    def about(self) -> str:
        return f"a list, each {self.item.about}"

    def read(self, given: Any) -> tuple[Any, ...]:
        if not isinstance(given, Sequence) or isinstance(given, str | bytes) or len(given) > 1000:
            raise ValueError("write a list in square brackets")
        values = [self.item.read(entry) for entry in given]
        return tuple(values) if self.ordered else tuple(sorted(values))


@dataclass(frozen=True)
class Table(_Base):
    """An answer for each of some names."""

    names: tuple[str, ...]
    item: Form

    @property
    def about(self) -> str:
        return f"for each of {', '.join(self.names)}: {self.item.about}"

    def empty(self, given: Any) -> bool:
        return super().empty(given) or (
            isinstance(given, dict) and all(self.item.empty(value) for value in given.values())
        )

    def read(self, given: Any) -> tuple[Any, ...]:
        if not isinstance(given, dict):
            raise ValueError(f"write a dictionary with the keys {', '.join(self.names)}")
        missing = [name for name in self.names if self.item.empty(given.get(name))]
        if missing:
            raise ValueError(f"there is no answer for {missing[0]}")
        return tuple(self.item.read(given[name]) for name in self.names)


@dataclass(frozen=True)
class Json(_Base):
    """A list or an object, whose inside the exercise itself reads."""

    what: str

    @property
    def about(self) -> str:
        return self.what

    def read(self, given: Any) -> Any:
        if not isinstance(given, list | dict):
            raise ValueError(f"write {self.what}")
        return given


@dataclass(frozen=True)
class ShownForm(_Base):
    """Not written but shown: by evidence in the folder ``evidence``, or by code that the grader runs."""

    what: str

    @property
    def about(self) -> str:
        return self.what

    def empty(self, given: Any) -> bool:
        return False

    def read(self, given: Any) -> Any:
        return given


@dataclass(frozen=True)
class Code(_Base):
    """A text of program code."""

    what: str

    @property
    def about(self) -> str:
        """What to write."""
        return self.what

    def read(self, given: Any) -> str:
        """The text."""
        if not isinstance(given, str) or len(given) > _LONGEST:
            raise ValueError("write it as text")
        return given
