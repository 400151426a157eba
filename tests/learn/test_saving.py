"""What is saved of a notebook with open forms."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

from labkit.learn import saving
from labkit.show import View
from labkit.show.front_end import FORM, SAVES, WIDGET, Place, widget_view
from labkit.show.markup import Markup

KERNEL = 4711
"""The process of the only kernel that lives."""


class Server:
    """As much of a Jupyter server as an extension needs: `a.ipynb` is open in it."""

    def __init__(self, folder: Path) -> None:
        self.contents_manager: Any = AsyncLargeFileManager(root_dir=str(folder))
        self.session_manager = self
        kernel = SimpleNamespace(provisioner=SimpleNamespace(pid=KERNEL))
        self.kernel_manager = SimpleNamespace(get_kernel={"one": kernel}.__getitem__)

    async def list_sessions(self) -> list[dict[str, Any]]:
        return [{"path": "a.ipynb", "kernel": {"id": "one"}}]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv(SAVES, "")
    server = Server(tmp_path)
    saving._load_jupyter_server_extension(server)
    with closing(server.contents_manager.notary.store):
        yield server


def output(model: str, **metadata: Any) -> dict[str, Any]:
    data = {"text/plain": "a", "text/html": "<p>a</p>", **widget_view(model)}
    return {"output_type": "display_data", "data": data, "metadata": metadata}


def form(process: int = KERNEL) -> dict[str, Any]:
    return output("1", **{FORM: {"kernel": process, "widget": "1"}})


def saved(server: Server, *outputs: dict[str, Any], name: str = "a.ipynb") -> None:
    """Save a notebook as a front end does."""
    words = {"cell_type": "markdown", "id": "a", "source": "", "metadata": {}}
    cell = {"cell_type": "code", "id": "b", "execution_count": 1, "metadata": {}, "source": ""}
    cells = [words, cell | {"outputs": deepcopy(list(outputs))}]
    book = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    asyncio.run(server.contents_manager.save({"type": "notebook", "content": book}, name))


def opened(server: Server, name: str = "a.ipynb", **words: Any) -> Any:
    return asyncio.run(server.contents_manager.get(name, **words))["content"]["cells"][1]["outputs"]


def test_an_open_form_is_saved_as_its_static_twin_and_others_widgets_are_left_alone(server: Server) -> None:
    printed = {"output_type": "stream", "name": "stdout", "text": "a"}
    saved(server, printed, form(), output("2"))
    same, static, other = opened(server)
    assert (same, other) == (printed, output("2"))
    assert static["data"] == {"text/plain": "a", "text/html": "<p>a</p>"}
    server.contents_manager.run_pre_save_hooks({"type": "file", "content": "text"}, "a")


def test_a_page_that_is_loaded_anew_gets_the_form_that_its_kernel_still_has(server: Server) -> None:
    saved(server, form(), form(KERNEL + 1), output("2"))
    living, dead, other = opened(server, type="notebook")
    assert living["data"][WIDGET] == form()["data"][WIDGET]
    assert set(dead["data"]) == {"text/plain", "text/html"}, "a kernel that was restarted has no forms"
    assert other == output("2")
    # What is done in it now reaches no output: the twin says so, once.
    saved(server, living, dead, other)
    again, ended, _ = opened(server, type="notebook")
    assert again == living
    assert again["data"]["text/html"].count("run this cell again") == 1
    assert ended["metadata"] == {}


def test_an_export_and_a_copy_under_another_name_have_the_static_twin(server: Server) -> None:
    for name in ("a.ipynb", "b.ipynb"):
        saved(server, form(), name=name)
    (exported,), (copied,) = opened(server), opened(server, "b.ipynb", type="notebook")
    assert WIDGET not in exported["data"]
    assert WIDGET not in copied["data"]


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """The texts that a cell shows, and whether each takes the place of an earlier one."""
    shown: list[tuple[str, bool]] = []

    def publish(data: dict[str, Any], update: bool = False, **_: Any) -> None:
        shown.append((data["text/plain"], update))

    monkeypatch.setattr("IPython.display.publish_display_data", publish)
    return shown


def test_where_a_widget_would_be_saved_a_sentence_stands_beside_the_form_until_it_ends(
    published: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    view, widget, place = View(Markup("a"), "a"), SimpleNamespace(model_id="1"), Place()
    monkeypatch.delenv(SAVES, raising=False)
    place.show(view, widget)
    assert [text for text, _ in published] == ["a", published[1][0]]
    assert "run this cell again" in published[1][0]
    place.show(view)
    assert published[2:] == [("a", True), ("", True)]


def test_where_the_static_twin_is_saved_a_form_stands_alone(
    published: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SAVES, "1")
    Place().show(View(Markup("a"), "a"), SimpleNamespace(model_id="1"))
    assert published == [("a", False)]
