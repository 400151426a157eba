"""Pictures and bars take the room that there is."""

from __future__ import annotations

import re

from labkit.show.svg import bars, picture


def test_a_picture_shrinks_as_far_as_its_words_can_be_read() -> None:
    style = re.search(r'<img [^>]*style="([^"]*)"', picture(900, 100, "a picture"))
    assert style
    assert style[1] == "max-width:100%;min-width:630px;height:auto"


def test_bars_have_no_width_of_their_own_so_that_the_last_one_is_seen_on_a_phone() -> None:
    drawn = bars([("firmware", 0.0, 3.0), ("shell", 3.0, 1.0)])
    assert "width:100%" in drawn
    cells = re.findall(r"<td style=\"([^\"]*)\">", drawn)
    assert ["width" in style for style in cells] == [True, True, False] * 2
    assert not re.search(r"<div style=\"[^\"]*width:[\d.]+em", drawn)
    assert "margin-left:72.75%;width:24.25%" in drawn
