"""A learner's JupyterLab in a real browser: widgets come up and work, and no output is clipped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit.learn.copies import copy, course_folder
from labkit.learn.open import lab_words
from labkit.settings import Settings
from tests.jupyterlab import OPEN, chromium_page, picture, served
from tests.runs.notebooks import code, markdown, write_notebook

pytestmark = [pytest.mark.vm, pytest.mark.browser]

_MOST = 40
"""Outputs of one cell; JupyterLab shows 50 and folds the rest."""

CLIPPED = """() => [...document.querySelectorAll(".jp-OutputArea-output *, .jp-MarkdownOutput *")].filter(
    (it) => it.clientWidth > 0 && it.scrollWidth > it.clientWidth + 1
        && getComputedStyle(it).overflowX !== "visible"
        && !["auto", "scroll"].includes(getComputedStyle(it).overflowX)
).map((it) => `${it.tagName} ${it.scrollWidth} > ${it.clientWidth}: ${it.textContent.slice(0, 60)}`)"""
"""What is wider than its room and does not scroll."""

SPILLED = """() => [...document.querySelectorAll(".jp-OutputArea-output")].filter(
    (it) => it.scrollWidth > it.clientWidth + 1
).map((it) => `${it.scrollWidth} > ${it.clientWidth}: ${it.textContent.slice(0, 60)}`)"""
"""Outputs that scroll sideways as a whole."""


def everything_stored() -> dict[str, Any]:
    """What all chapters hold, in one untrusted notebook: one page to open, with few editors to draw."""
    books = [json.loads(path.read_bytes()) for path in sorted(course_folder().glob("*.ipynb"))]
    cells = []
    for number, book in enumerate(books):
        words = [cell for cell in book["cells"] if cell["cell_type"] == "markdown"]
        cells += [cell | {"id": f"{number}-{cell['id']}"} for cell in words]
        outputs = [output for cell in book["cells"] for output in cell.get("outputs", ())]
        for at in range(0, len(outputs), _MOST):
            empty = {"cell_type": "code", "metadata": {}, "execution_count": 1, "source": ""}
            cells.append(empty | {"id": f"{number}-outputs-{at}", "outputs": outputs[at : at + _MOST]})
    # The first chapter's kernel boots nothing.
    return {**books[0], "cells": cells}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A learner's folder."""
    folder = tmp_path_factory.mktemp("learner") / "work"
    copy(folder)
    return folder


@pytest.fixture(scope="module")
def address(vm_settings: Settings, work: Path) -> Iterator[str]:
    """What `labkit notebooks open` serves, with every cell of a notebook on the page."""
    root = work.parent
    (work / "stored.ipynb").write_text(json.dumps(everything_stored()))
    ask = code('from labkit import lab\nlab.predict("03.moved", "Which one?", ["MRTD", "RTMR0", "RTMR2"])')
    boot = code("tdvm = lab.boot()\nlab.panel(tdvm)")
    log = code("lab.event_log(tdvm.measurements.raw_log)")
    write_notebook(work / "panel.ipynb", markdown("# A panel"), ask, boot, log, code("tdvm.close()"))
    settings = root / "config/lab/user-settings/@jupyterlab/notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    words, environment = lab_words(work, OPEN, os.environ)
    environment |= {"JUPYTER_CONFIG_DIR": str(root / "config"), "JUPYTER_RUNTIME_DIR": str(root / "runtime")}
    environment |= {"LABKIT_CACHE_DIR": str(vm_settings.cache_dir), "LABKIT_UI": "auto", "HOME": str(root)}
    environment |= {"LABKIT_STATE_DIR": str(vm_settings.state_dir)}
    with served(words, environment, root) as address:
        yield address


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    with chromium_page() as page:
        yield page


def opened(page: Any, address: str) -> None:
    """A notebook alone on the page, all of its cells there."""
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(address)
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    page.locator(".jp-Notebook").get_by_text("glossary").last.wait_for(state="attached")
    if page.locator("#jp-left-stack").is_visible():
        page.keyboard.press("Control+b")
        page.locator("#jp-left-stack").wait_for(state="hidden")


def test_a_prediction_is_recorded_by_keyboard_alone(page: Any, address: str) -> None:
    page.goto(f"{address}lab/tree/panel.ipynb")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    for words in ("Create Assignment", "Validate"):
        assert page.get_by_text(words).count() == 0, "nbgrader's buttons are for teachers"
    page.locator(".jp-CodeCell .cm-content").first.click()
    page.keyboard.press("Control+Enter")
    page.get_by_role("group", name="Which one?").wait_for()
    page.keyboard.press("Escape")
    chosen = page.locator(":focus[type=radio]")
    while not chosen.count():
        page.keyboard.press("Tab")
    for key in ("ArrowDown", "d", "d", "ArrowDown", "Tab", "Enter"):
        page.keyboard.press(key)
    asked = page.locator(".jp-CodeCell").first
    asked.get_by_text("Your prediction: RTMR2").wait_for()
    assert page.locator(".jp-CodeCell").count() == 4, "the letters were for the form"
    # It goes on where the person does.
    page.locator(".jp-CodeCell:focus", has_text="lab.boot()").wait_for()


def pressed(output: Any, name: str) -> Any:
    """A button that was pressed by keyboard."""
    button = output.get_by_role("button", name=name)
    button.press("Enter")
    return button


def test_the_panel_comes_up_works_by_keyboard_and_is_saved_as_what_it_shows(
    page: Any, address: str, work: Path
) -> None:
    page.keyboard.press("Shift+Enter")
    output = page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea").first
    output.get_by_text("Booting a TDVM").first.wait_for()
    output.get_by_role("button", name="Attest").wait_for()
    assert "EMULATED" in output.inner_text()
    picture(page, "panel")
    pressed(output, "Snapshot")
    output.get_by_text("Snapshot: saved").wait_for()
    attest = pressed(output, "Attest")
    output.get_by_text("ACCEPTED").first.wait_for()
    assert attest.evaluate("(it) => it === document.activeElement"), "the keyboard stays where it was"
    pressed(output, "Restore")
    output.get_by_text("Restore: back at what was saved").wait_for()
    output.get_by_role("tab", name="timeline").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    value = output.get_by_text("RTMR2").first
    value.wait_for()
    assert value.evaluate("(it) => getComputedStyle(it.closest('td')).paddingRight") != "0px", "as outside"
    picture(page, "panel-registers")
    assert page.evaluate(CLIPPED) == []
    with page.expect_response(lambda answer: answer.request.method == "PUT" and "panel.ipynb" in answer.url):
        page.keyboard.press("Control+s")
    saved = json.loads((work / "panel.ipynb").read_text())["cells"][2]["outputs"][-1]
    assert set(saved["data"]) == {"text/plain", "text/html"}, "a form is nothing without its kernel"
    assert "RTMR2" in "".join(saved["data"]["text/html"])
    # A page that is loaded anew has the form that its kernel still has, and the form ends there too.
    page.reload()
    output.get_by_role("tab", name="registers").press("Enter")
    picture(page, "panel-reloaded")
    pressed(output, "Done")
    output.get_by_role("button", name="Attest").wait_for(state="detached")
    assert "RTMR2" in output.inner_text(), "the static form stays"
    page.locator(".jp-CodeCell:focus", has_text="lab.event_log").wait_for()


def test_an_event_log_is_explored_by_keyboard(page: Any, address: str, work: Path) -> None:
    page.keyboard.press("Shift+Enter")
    output = page.locator(".jp-CodeCell").nth(2).locator(".jp-OutputArea").first
    listed = output.get_by_role("listbox")
    listed.focus()
    output.get_by_label("Event log").get_by_role("combobox").select_option("RTMR2")
    listed.focus()
    page.keyboard.press("ArrowDown")
    output.get_by_text("RTMR2 after").wait_for()
    picture(page, "event-log")
    assert page.evaluate(CLIPPED) == []
    with page.expect_response(lambda answer: answer.request.method == "PUT" and "panel.ipynb" in answer.url):
        page.keyboard.press("Control+s")
    saved = json.loads((work / "panel.ipynb").read_text())["cells"][3]["outputs"][-1]
    assert set(saved["data"]) == {"text/plain", "text/html"}
    page.locator(".jp-CodeCell", has_text="tdvm.close()").locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()


def test_nothing_that_is_stored_is_clipped(page: Any, address: str) -> None:
    opened(page, f"{address}doc/tree/stored.ipynb")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        # The notebook is laid out anew in the next frame.
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        picture(page, f"stored-{width}")
        assert page.evaluate(CLIPPED) == [], width
        assert page.evaluate(SPILLED) == [], width
