"""Results that can be explored: static without a person, with a list of their parts where one looks on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ipywidgets import HTML, Dropdown, Select, Widget

from labkit.measure import rtmrs
from labkit.measure.replay import event_parts, report_log
from labkit.show.front_end import FORM, WIDGET
from labkit.show.tdx import sept_walk
from tests.measure.logs import tcg_log

WALK: list[dict[str, Any]] = [
    {"level": 1, "size": "2 MiB", "index": 2, "entry": "0x0005", "state": "NL_MAPPED", "page": 0x5000},
    {"level": 0, "size": "4 KiB", "index": 1, "entry": "0x0000", "state": "FREE", "page": None},
]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Widget]]:
    """The widgets that are made while a person looks on."""
    widgets: list[Widget] = []
    monkeypatch.setenv("LABKIT_UI", "live")
    Widget.on_widget_constructed(widgets.append)
    yield widgets
    Widget.on_widget_constructed(None)


def only(widgets: list[Widget], kind: type[Any]) -> Any:
    (widget,) = [widget for widget in widgets if isinstance(widget, kind)]
    return widget


def shown(widgets: list[Widget]) -> str:
    """The chosen part, which stands below the whole result."""
    return "".join(widget.value for widget in widgets if isinstance(widget, HTML))


def test_without_a_person_a_result_has_its_own_forms_alone() -> None:
    assert report_log(tcg_log())._repr_mimebundle_() is None
    assert sept_walk(WALK, 0x401000)._repr_mimebundle_() is None


def test_each_event_says_what_it_did_to_its_register() -> None:
    log = tcg_log()
    parts = event_parts(log)
    assert len(parts) == len(log.events)
    for number, value in enumerate(rtmrs(log)):
        own = [part for part in parts if part.group == f"RTMR{number}" and "after" in part.html]
        assert not own or value.hex() in own[-1].html, "as the replay leaves it"


def test_an_event_log_is_listed_by_register_and_an_event_is_chosen(made: list[Widget]) -> None:
    bundle = report_log(tcg_log())._repr_mimebundle_()
    assert bundle is not None
    assert set(bundle[0]) == {WIDGET}
    assert set(bundle[1]) == {FORM}, "so that what is saved is the static form"
    listed, chooser = only(made, Select), only(made, Dropdown)
    everything = len(listed.options)
    chooser.value = "RTMR2"
    assert 0 < len(listed.options) < everything
    assert "RTMR2" in listed.label
    listed.index = len(listed.options) - 1
    assert "RTMR2 after" in shown(made)


def test_a_walk_is_explored_level_by_level(made: list[Widget]) -> None:
    assert sept_walk(WALK, 0x401000)._repr_mimebundle_() is not None
    listed = only(made, Select)
    assert "29 to 21: 0b000000010 is entry 2" in shown(made)
    listed.index = 1
    assert "20 to 12: 0b000000001 is entry 1" in shown(made)
    assert "nothing" in shown(made)
    assert "EMULATED" in shown(made)
