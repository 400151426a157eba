"""The records of a framed shell, told from text: no guest needed."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.console.frames import (
    Ask,
    Display,
    End,
    Exit,
    Frame,
    Reader,
    Ready,
    Text,
    ansi_c_quote,
    lines,
    shell_quote,
)


def read(*pieces: bytes) -> list[Frame]:
    reader = Reader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    if rest := reader.rest():
        events.append(Text(rest))
    joined: list[Frame] = []
    for event in events:
        if isinstance(event, Text) and joined and isinstance(joined[-1], Text):
            joined[-1] = Text(joined[-1].data + event.data)
        else:
            joined.append(event)
    return joined


PICTURE = base64.b64encode(b"\x89PNG\n" * 30)


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"text", [Text(b"text")]),
        (b"a\x1e>17:::\x1fb", [Text(b"a"), Ready(17), Text(b"b")]),
        (b"\x1e>17\x1f\x1e>x:::\x1f", [Text(b"\x1e>17\x1f\x1e>x:::\x1f")]),
        (b"\x1e>:0:1::\x1f\x1e>:0:::\x1f", [Ready(None, bash=True), Ready(None)]),
        (b"\x1e<17:15:2::7\x1f", [Ready(17, end=(15, 2), ended=7, printed=True)]),
        (b"\x1e>4:4:7:130:himBs:0123456789:\x1f", [Ready(4, (4, 7), 130, "himBs", b"0123456789")]),
        (b"\x1ex5\x1f\x1e.\x1f", [Exit(5), End()]),
        (b"\x1e?:Name? \x1f\x1e?s:\x1f", [Ask("Name? ", False), Ask("", True)]),
        (b"\x1e=image/png;" + PICTURE + b"\x1f", [Display("image/png", b"\x89PNG\n" * 30)]),
        (b"\x1e\x1e>3:::\x1f", [Text(b"\x1e"), Ready(3)]),
        (b"\x1e=image/png;AAAA\x1e>3:::\x1f", [Text(b"\x1e=image/png;AAAA"), Ready(3)]),
    ],
)
def test_records_are_told_from_text(data: bytes, events: list[Frame]) -> None:
    assert read(data) == events
    assert read(*(data[i : i + 1] for i in range(len(data)))) == events


@pytest.mark.parametrize(
    "data",
    [
        b"\x1e", b"\x1f", b"\x1e\x1f", b"\x1e>x\x1f", b"\x1e>1", b"\x1e!short:0:\x1f", b"\x1e?no colon\x1f",
        b"\x1e=text;AAAA\x1f", b"\x1e=image/png;AAA\x1f", b"\x1e=image/png;$(x)\x1f", b"\x1ez\x1f",
        b"\x1e!0123456789abcdef:0:i\x1e", b"\x1e>" + b"1" * 100 + b"\x1f", b"\x1e?:" + b"x" * 3000 + b"\x1f",
    ],
)  # fmt: skip
def test_what_is_not_well_formed_is_text(data: bytes) -> None:
    assert read(data) == [Text(data)]
    assert read(*(data[i : i + 1] for i in range(len(data)))) == [Text(data)]


@given(
    st.lists(st.sampled_from([b"\x1e", b"\x1f", b">1", b"a", b"!", b"?:", b"=", b"\x1e>2\x1f", b"x" * 50])),
    st.integers(1, 7),
)
def test_where_the_bytes_are_cut_makes_no_difference(pieces: list[bytes], size: int) -> None:
    data = b"".join(pieces)
    assert read(*(data[i : i + size] for i in range(0, len(data), size))) == read(data)


def test_an_unfinished_record_does_not_hold_back_output_for_ever() -> None:
    reader = Reader()
    assert reader.feed(b"\x1e>" + b"1" * 90) == []
    assert reader.feed(b"1" * 30) == [Text(b"\x1e>" + b"1" * 120)]


@given(st.text(max_size=60))
def test_quoted_text_is_printable_and_can_be_cut_anywhere(text: str) -> None:
    parts = (
        ansi_c_quote(text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"))
        if text
        else []
    )
    assert all(0x20 <= byte < 0x7F for part in parts for byte in part)
    assert b"".join(lines(parts, 9)) == b"".join(parts)
    assert all(len(line) <= 9 for line in lines(parts, 9))


def test_a_quoted_word_is_one_word() -> None:
    assert shell_quote("a 'b' \\ $c\né") == "$'a \\'b\\' \\\\ $c\\n\\303\\251'"


def test_a_line_is_filled_to_its_last_byte() -> None:
    assert lines([b"ab", b"cd", b"e"], 4) == [b"abcd", b"e"]
    assert lines([], 4) == [b""]
