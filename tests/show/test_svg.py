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


def test_a_stage_has_one_colour_in_every_boot_and_shares_it_with_no_other() -> None:
    def colours(*names: str) -> dict[str, str]:
        drawn = bars([(name, number, 1.0) for number, name in enumerate(names)])
        return dict(zip(names, re.findall(r"background-color:(#\w+)", drawn), strict=True))

    linux = colours("firmware", "efi-stub", "kernel", "init", "shell")
    newer = colours("firmware", "kernel", "init", "shell")
    asterinas = colours("kernel", "ostd", "thread", "initramfs", "init", "prompt")
    assert newer.items() <= linux.items()
    assert {name: linux[name] for name in ("kernel", "init")}.items() <= asterinas.items()
    assert all(len(set(found.values())) == len(found) for found in (linux, newer, asterinas))
    assert set(colours(*map(str, range(9)))) == set(map(str, range(9)))
