"""What is saved of a notebook with open forms."""

from __future__ import annotations

from typing import Any

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

from labkit.learn import saving
from labkit.show.front_end import FORM, WIDGET


class Server:
    """As much of a Jupyter server as an extension needs."""

    def __init__(self) -> None:
        self.contents_manager: Any = AsyncLargeFileManager()


def output(**metadata: Any) -> dict[str, Any]:
    data = {"text/plain": "a", "text/html": "<p>a</p>", WIDGET: {"model_id": "1"}}
    return {"output_type": "display_data", "data": data, "metadata": metadata}


def test_an_open_form_is_saved_as_its_static_twin_and_others_widgets_are_left_alone() -> None:
    words = {"cell_type": "markdown", "source": "", "metadata": {}}
    printed = {"output_type": "stream", "name": "stdout", "text": "a"}
    form, other = output(**{FORM: True}), output()
    cells = [words, {"cell_type": "code", "outputs": [printed, form, other]}]
    server = Server()
    saving._load_jupyter_server_extension(server)
    for model in ({"type": "notebook", "content": {"cells": cells}}, {"type": "file", "content": "text"}):
        server.contents_manager.run_pre_save_hooks(model, "a")
    assert (set(form["data"]), form["metadata"]) == ({"text/plain", "text/html"}, {})
    assert other == output()
