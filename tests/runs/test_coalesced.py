"""The streams of a cell, put together as a terminal shows them, however long their lines are."""

from __future__ import annotations

import time
from typing import Any

import nbformat
import pytest

from labkit.runs.execution import coalesced


def stream(name: str, text: str) -> Any:
    return nbformat.v4.new_output("stream", name=name, text=text)


def shown(*outputs: Any) -> list[tuple[str, str]]:
    return [(out.get("name", out.output_type), out.get("text", "")) for out in coalesced(list(outputs))]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("10 %\r20 %\r100 %\n", "100 %\n"),
        ("line\r\nnext\r\n", "line\r\nnext\r\n"),
        ("a\nb\rc\nd", "a\nc\nd"),
        ("a\r", "a\r"),
        ("twice\r\r\n", "twice\r\r\n"),
        ("plain\n", "plain\n"),
    ],
)
def test_a_carriage_return_takes_back_what_stood_in_its_line(text: str, seen: str) -> None:
    assert shown(stream("stdout", text)) == [("stdout", seen)]


def test_a_stream_is_one_output_and_standard_output_comes_first() -> None:
    display = nbformat.v4.new_output("display_data")
    found = shown(
        stream("stderr", "e"), stream("stdout", "a"), display, stream("stdout", "b\r"), stream("stdout", "c")
    )
    assert found == [("stdout", "c"), ("stderr", "e"), ("display_data", "")]


def test_a_long_line_costs_no_more_than_it_is_long() -> None:
    begin = time.process_time()
    assert shown(stream("stdout", "x" * (4 << 20))) == [("stdout", "x" * (4 << 20))]
    assert time.process_time() - begin < 2
