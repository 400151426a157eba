"""Views of the TDX model: static, escaped, stamped, the same facts in text and HTML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from labkit import show, tdx
from labkit.settings import Ui
from labkit.show import View
from labkit.show.front_end import Place
from tests.show.pictures import drawn


@pytest.fixture(scope="module")
def hostile() -> tdx.HostileVmm:
    return tdx.HostileVmm()


def _trace(hostile: tdx.HostileVmm) -> tdx.Trace:
    trace = hostile.platform.trace
    assert trace is not None
    return trace


def _views(hostile: tdx.HostileVmm) -> dict[str, View]:
    platform = hostile.platform
    page = hostile.physical(0x101000)
    trace = _trace(hostile)
    return {
        "walk": show.tdx.sept_walk(tdx.sept_walk(platform, hostile.td.tdr, 0x101000), 0x101000),
        "pamt": show.tdx.pamt_map(tdx.pamt_map(platform)),
        "life": show.tdx.page_life(tdx.page_life(trace, page), page),
        "lines": show.tdx.memory_lines(tdx.line_metadata(platform, page)),
        "sequence": show.tdx.sequence(tdx.sequence(trace.events)),
        "attacks": show.tdx.attacks([tdx.attack("alias").to_dict(), tdx.attack("lie").to_dict()]),
        "frame": show.tdx.frames(tdx.storyboard(trace, 5))[-1],
    }


def test_every_view_is_well_formed_stamped_and_has_text(hostile: tdx.HostileVmm) -> None:
    for name, view in _views(hostile).items():
        ET.fromstring(f"<div>{view._repr_html_()}</div>".replace("&nbsp;", " "))
        assert "EMULATED" in view.html, name
        assert view.text.startswith("[EMULATED]"), name
        assert repr(view) == str(view) == view.text


def test_text_tells_the_facts(hostile: tdx.HostileVmm) -> None:
    views = _views(hostile)
    assert "MAPPED" in views["walk"].text
    assert "TDVPR" in views["pamt"].text
    assert "REG, MAPPED" in views["life"].text
    assert "TDH.SYS.TDMR.INIT ×256" in views["sequence"].text
    assert "0xc000030000000008" in views["attacks"].text
    assert "SYS" in views["frame"].text


def test_a_ledger_without_pages_says_so() -> None:
    view = show.tdx.pamt_map([])
    assert "no page is in use" in view.html
    assert view.text.endswith("no page is in use")


def test_walk_that_ends_early(hostile: tdx.HostileVmm) -> None:
    rows = tdx.sept_walk(hostile.platform, hostile.td.tdr, 0x40000000)
    assert rows[-1]["state"] == "FREE"
    assert rows[-1]["page"] is None
    assert show.tdx.sept_walk(rows, 0x40000000).text.endswith("-")


def test_names_are_escaped() -> None:
    row: dict[str, Any] = {"step": 0, "name": "<b>", "answer": "&", "kind": "SEAMCALL", "becomes": ""}
    assert "<b>" not in show.tdx.page_life([row], 0).html.split("</b>", 1)[1]


def test_the_words_of_an_arrow_fit_between_its_lanes() -> None:
    write = {"kind": "WRITE", "size": 4096, "address": 0x1_0000_2000, "times": 256, "error": False}
    picture = ET.fromstring(drawn(show.tdx.sequence([{"lp": 0, **write}]).html))
    lanes = [float(line.attrib["x1"]) for line in picture.findall(".//{*}line") if line.attrib["y1"] == "24"]
    words = next(text for text in picture.findall(".//{*}text") if "4096" in (text.text or ""))
    half = 7.2 * len(words.text or "") / 2  # the width of a character of 12 px
    middle = float(words.attrib["x"])
    assert lanes[0] < middle - half
    assert middle + half < lanes[1]


def test_long_traces_are_cut() -> None:
    rows = [
        {"kind": "WRITE", "lp": 0, "name": "WRITE", "size": 1, "address": i, "error": False, "answer": ""}
        for i in range(100)
    ]
    view = show.tdx.sequence(rows)
    assert view.text.endswith("… 40 more")
    assert drawn(str(view.html)).count("<polygon") == 60


def test_page_life_from_birth_to_reclaim() -> None:
    host = tdx.Vmm().start()
    td = host.launch([tdx.Section(0x1000, 0x1000, b"code", 1)])
    page = host.aug(td, 0x5000)
    host.remove(td, 0x5000)
    host.free.append(page)
    trace = host.platform.trace
    assert trace is not None
    host.platform.write(page, b"host again")
    assert [row["becomes"] for row in tdx.page_life(trace, page)] == ["REG, PENDING", "NDA", ""]


def test_a_stepper_without_a_person_is_the_storyboard(hostile: tdx.HostileVmm) -> None:
    frames = show.tdx.frames(tdx.storyboard(_trace(hostile)))
    static = show.stepper(frames, Ui.STATIC)
    assert isinstance(static, View)
    assert static.html.count("<details>") == len(frames)
    assert len(static.text.splitlines()) == len(frames)
    assert str(show.stepper(frames)) == static.text


def test_a_live_stepper_counts_as_its_frames_do_and_ends_as_the_storyboard(
    hostile: tdx.HostileVmm, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = show.tdx.frames(tdx.storyboard(_trace(hostile)))
    places: list[tuple[View, Any]] = []
    monkeypatch.setattr(Place, "show", lambda _, view, widget=None: places.append((view, widget)))
    assert show.stepper(frames, Ui.LIVE) is None, "what a cell shows and what it returns would be two forms"
    static, box = places[0]
    assert str(static) == str(show.stepper(frames, Ui.STATIC)), (
        "what a saved notebook holds before the form has ended"
    )
    controls, shown, *_ = box.children
    back, place, forth, done = controls.children
    assert (place.value, place.max) == (1, len(frames))
    assert f"step 1 of {len(frames)}" in shown.value
    forth.click()
    assert (place.value, shown.value) == (2, str(frames[1].html))
    place.value = 4
    assert shown.value == str(frames[3].html)
    back.click()
    assert place.value == 3
    done.click()
    assert [widget for _, widget in places] == [box, None]


def test_stepper_of_nothing() -> None:
    assert str(show.stepper([], Ui.LIVE)) == ""
