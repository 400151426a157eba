from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from labkit.settings import Trust
from labkit.show import colours, one_line
from labkit.show.fields import FieldSpan, field_table, field_view, hex_map, spans
from labkit.show.markup import element, prose
from labkit.show.measure import diff_view, event_table, section_table
from labkit.show.verdict import verdict_view

FIELDS = spans([("magic", b"TDVF"), ("<name>", bytes(range(60)))], 10)


def test_spans_follow_each_other() -> None:
    assert [(field.name, field.offset, len(field.value)) for field in FIELDS] == [
        ("magic", 10, 4),
        ("<name>", 14, 60),
    ]


def test_a_hex_map_shows_every_byte_once_and_in_order() -> None:
    markup = str(hex_map(FIELDS))
    rows = [re.sub(r"<[^>]*>", " ", line).split() for line in markup.splitlines()]
    shown = [word for row in rows for word in row[1:]]
    assert bytes.fromhex("".join(shown)) == b"TDVF" + bytes(range(60))
    assert [row[0] for row in rows if row] == ["0", "32", "64"]
    assert "&lt;name&gt;" in markup
    assert "<name>" not in markup


@given(st.lists(st.binary(max_size=90), max_size=9))
def test_any_fields_can_be_mapped(values: list[bytes]) -> None:
    markup = str(hex_map(spans([(f"f{number}", value) for number, value in enumerate(values)])))
    assert markup.count("<span") == markup.count("</span>")


def test_a_long_structure_is_cut_and_says_so() -> None:
    markup = str(hex_map([FieldSpan("big", 0, bytes(20_000))]))
    assert "only the first 8192 bytes" in markup
    assert len(markup) < 100_000


def test_a_field_table_names_offset_size_and_meaning() -> None:
    markup = str(field_table([FieldSpan("mrtd", 528, b"\x17" * 48, "what was built")]))
    for text in ("528", "48", "mrtd", "what was built", "17" * 48):
        assert text in markup
    assert "00 × 48" in field_table([FieldSpan("rtmr3", 864, bytes(48))])
    assert "00 × 8" not in field_table([FieldSpan("xfam", 520, bytes(8))])
    long = str(field_table([FieldSpan("pem", 0, b"-" * 4000)]))
    assert len(long) < 1000
    assert "hex map" in field_view(FIELDS)


def test_hexadecimal_cells_are_code_and_others_are_not() -> None:
    markup = str(section_table(("a",), [("0xffe20000",), ("plain words",), ("deadbeef…",), ("<b>",)]))
    assert markup.count("<code ") == 2
    assert "<b>" not in markup


def test_a_long_table_of_events_says_that_it_scrolls_and_a_short_one_does_not() -> None:
    long = str(event_table(("a",), [(str(number),) for number in range(40)]))
    assert "40 rows: scroll" in long
    assert "overflow-y:scroll" in long
    assert "scroll to see" not in str(event_table(("a",), [("x",)]))


def test_every_cell_says_that_it_stands_at_the_left() -> None:
    markup = str(section_table(("a", "b"), [("1", "2"), ("3", "4")]))
    assert re.findall(r"<t[dh]\b", markup) == re.findall(r"<t[dh]\b(?= style=\"text-align:left)", markup)


def test_a_diff_tints_what_differs() -> None:
    rows = [("same", "x"), ("other", "y"), ("gone", "z"), ("new", "v")]
    markup = str(diff_view("Headline <1>", ("what", "is"), rows, ["same", "differs", "missing", "extra"]))
    assert markup.count("hsl(") == 3
    assert "Headline &lt;1&gt;" in markup


def test_a_verdict_without_hardware_is_stamped() -> None:
    assert "EMULATED" in verdict_view("VERIFIED", True, Trust.NONE, "because", [("a", "b")])
    assert "EMULATED" not in verdict_view("VERIFIED", True, Trust.HARDWARE, "because", [])


def test_one_line_stays_one_printable_line() -> None:
    assert one_line("a\nb\rc\td\x1b[31me\u07b2") == "a␊b␍c␉de\ufffd"
    assert one_line("x" * 1000, 10) == "xxxxxxxxxx… (1000 characters)"


@given(st.text(max_size=500))
def test_any_text_becomes_one_printable_line(text: str) -> None:
    line = one_line(text, 100)
    assert line.isprintable()
    assert len(line) < 130


def test_words_between_backticks_are_code_and_everything_is_escaped() -> None:
    assert prose("Run `a < b` & see.") == "Run <code>a &lt; b</code> &amp; see."
    assert prose("`a` and `b`") == "<code>a</code> and <code>b</code>"
    assert prose("one ` alone <b>") == "one ` alone &lt;b&gt;"
    assert prose(element("i", "`x`")) == "<i>`x`</i>"


def test_every_colour_can_be_read_on_light_and_on_dark_pages() -> None:
    for colour, on_dark in colours.ON_DARK.items():
        assert min(contrast(colour, "#ffffff"), contrast(colour, "#111111")) > 4.1, colour
        assert contrast(on_dark, "#161b22") > 4.5, on_dark


def contrast(one: str, other: str) -> float:
    """WCAG 2.2: the contrast ratio of two colours, 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
