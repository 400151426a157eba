"""Untrusted text, as a terminal would leave it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.show import clean


def left_by_a_terminal(text: str) -> str:
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


@given(st.text("ab\r\n", max_size=40))
def test_a_carriage_return_restarts_its_line_unless_the_line_ends_there(text: str) -> None:
    assert clean(text) == left_by_a_terminal(text)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a" * 1_000_000 + "\r" + "b" * 1_000_000, "b" * 1_000_000),
        ("\r" * 1_000_000 + "a", "a"),
        ("a\r\r" * 300_000 + "\n", "a\n"),
        ("a" + "\r" * 1_000_000, "a"),
    ],
    ids=["a long line", "nothing but returns", "many restarts", "returns at the end"],
)
def test_a_text_made_to_take_for_ever_does_not(text: str, left: str) -> None:
    assert clean(text) == left
