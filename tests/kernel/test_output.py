"""What becomes of a guest's bytes on their way to a notebook: no guest needed."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.kernel.output import INTERVAL, Cleaner, Clear, Publisher


def cleaned(*pieces: bytes) -> list[str | type[Clear]]:
    cleaner = Cleaner()
    parts = [part for piece in pieces for part in cleaner.feed(piece)] + cleaner.feed(b"", final=True)
    joined: list[str | type[Clear]] = []
    for part in parts:
        if isinstance(part, Clear):
            joined.append(Clear)
        elif joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (b"plain\n", ["plain\n"]),
        ("é→😀".encode(), ["é→😀"]),
        (b"\xff\xfe", ["\ufffd\ufffd"]),
        (b"a\r\nb\r\r\nc\rd", ["a\nb\nc\rd"]),
        (b"\x1b[1;31mred\x1b[0m", ["\x1b[1;31mred\x1b[0m"]),
        (b"\x1b]0;title\x07x\x1b]8;;http://e\x1b\\link\x1b]8;;\x1b\\", ["xlink"]),
        (b"\x1bP+q\x1b\\\x1b[6nx\x1b[10;10H", ["x"]),
        (b"a\x00\x07\x0b\x7fb", ["ab"]),
        (b"a\x1b[H\x1b[Jb", ["a", Clear, "b"]),
        (b"\x1b[H\x1b[2J\x1b[3J", [Clear]),
        (b"\x1bc", [Clear]),
        ("x\u202ey\u2066z".encode(), ["xyz"]),
        (b"end\x1b", ["end"]),
        (b"end\x1b[3", ["end[3"]),
        (b"progress\b\b10%", ["progress\b\b10%"]),
    ],
)
def test_text_and_colours_pass_and_the_rest_is_disarmed(data: bytes, parts: list[object]) -> None:
    assert [part for part in cleaned(data) if part] == parts


@given(
    st.lists(st.sampled_from([*"ab\r\n\x1b[]0;m1JHc\x07\\", "é", "\x1b[31m", "\x1b[2J"]), max_size=40),
    st.data(),
)
def test_where_the_bytes_are_cut_makes_no_difference(letters: list[str], data: st.DataObject) -> None:
    raw = "".join(letters).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert cleaned(*pieces) == cleaned(raw)


@pytest.mark.parametrize(
    ("pieces", "parts"),
    [
        ((b"a\r", b"\nb"), ["a\nb"]),
        ((b"a\r", b"\r", b"\nb"), ["a\nb"]),
        ((b"a\r", b"b"), ["a\rb"]),
        ((b"a\x1b", b"[31mb"), ["a\x1b[31mb"]),
        ((b"a\x1b[", b"2J", b"b"), ["a", Clear, "b"]),
        ((b"a\x1b]0;ti", b"tle\x07b"), ["ab"]),
        ((b"\x1b", b"[31mb"), ["\x1b[31mb"]),
        ((b"\x1b[", b"2J", b"b"), [Clear, "b"]),
        ((b"\x1b]0;ti", b"tle\x07b"), ["b"]),
        ((b"a\xc3", b"\xa9"), ["a\u00e9"]),
    ],
)
def test_what_is_cut_in_two_is_one(pieces: tuple[bytes, ...], parts: list[object]) -> None:
    assert cleaned(*pieces) == parts
    assert cleaned(b"".join(pieces)) == parts


@given(st.binary(max_size=200))
def test_no_control_but_a_colour_ever_passes(data: bytes) -> None:
    for part in cleaned(data):
        if isinstance(part, str):
            rest = re.sub(r"\x1b\[[0-9;:]*m", "", part)
            assert not re.search(r"[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e]", rest)


class Sent(list[tuple[str, dict[str, Any]]]):
    def __call__(self, kind: str, content: dict[str, Any]) -> None:
        self.append((kind, content))

    def text(self, name: str = "stdout") -> str:
        return "".join(c["text"] for kind, c in self if kind == "stream" and c["name"] == name)


def test_output_is_coalesced_and_the_order_of_other_messages_kept() -> None:
    sent = Sent()
    publisher = Publisher(sent, 1000)
    for number in range(100):
        publisher.output(b"%d\n" % number)
    publisher.text("hint\n", "stderr")
    publisher.add("display_data", {"data": {}})
    publisher.output(b"after\n")
    publisher.close()
    assert [(kind, content.get("name")) for kind, content in sent] == [
        ("stream", "stdout"),
        ("stream", "stderr"),
        ("display_data", None),
        ("stream", "stdout"),
    ]
    assert sent.text() == "".join(f"{n}\n" for n in range(100)) + "after\n"


def test_a_tick_publishes_only_what_has_waited_for_the_rest_of_it() -> None:
    sent, now = Sent(), 0.0
    publisher = Publisher(sent, 1000, clock=lambda: now)
    publisher.output(b"h")
    publisher.tick()
    assert sent == []
    publisher.output(b"ello\n")
    now += INTERVAL
    publisher.tick()
    assert sent == [("stream", {"name": "stdout", "text": "hello\n"})]
    publisher.output(b"again\n")
    now += INTERVAL / 2
    publisher.tick()
    assert len(sent) == 1
    publisher.flush()
    assert len(sent) == 2


def test_a_flood_is_bounded_and_says_where_the_rest_is() -> None:
    sent = Sent()
    publisher = Publisher(sent, 1000, lambda: "HERE/shell.log")
    for number in range(100_000):
        publisher.output(b"%06d\n" % number)
    publisher.close()
    text = sent.text()
    assert len(text) < 6000
    assert text.startswith("000000\n")
    assert text.endswith("099999\n")
    assert "[... 695000 characters not shown; the full log is HERE/shell.log ...]" in text


def test_output_just_beyond_the_limit_loses_nothing() -> None:
    sent = Sent()
    publisher = Publisher(sent, 10)
    publisher.output(b"x" * 500)
    publisher.close()
    assert sent.text() == "x" * 500


def test_the_last_line_of_a_cell_is_known_for_its_outcome() -> None:
    publisher = Publisher(lambda kind, content: None, 1000)
    assert publisher.last_line == ""
    publisher.output(b"Linux td")
    publisher.output(b"vm\n\n", final=True)
    publisher.text("a complaint\n", "stderr")
    assert publisher.last_line == "Linux tdvm"


def test_both_streams_keep_their_order_and_what_was_held_back_comes_at_the_end() -> None:
    sent: list[tuple[str, Any]] = []
    publisher = Publisher(lambda kind, content: sent.append((kind, content)), limit=1000)
    for text, name in (("one\n", "stdout"), ("bad\n", "stderr"), ("two\n", "stdout"), ("three\n", "stdout")):
        publisher.text(text, name)
    publisher.output("half a letter: é".encode()[:-1])
    publisher.close()
    assert sent == [
        ("stream", {"name": "stdout", "text": "one\n"}),
        ("stream", {"name": "stderr", "text": "bad\n"}),
        ("stream", {"name": "stdout", "text": "two\nthree\nhalf a letter: \ufffd"}),
    ]
