"""What is saved of a form that is still open: its static twin, since a form is nothing without its kernel.

An extension of Jupyter's server, through which JupyterLab and Notebook 7 save; others' widgets stay.
"""

from __future__ import annotations

from typing import Any

from labkit.show.front_end import FORM, WIDGET

EXTENSION = {"ServerApp": {"jpserver_extensions": {__name__: True}}}
"""The configuration that switches it on."""


def leave_static(model: dict[str, Any], **_: Any) -> None:
    """Take the widget out of each open form of a notebook that is about to be saved."""
    if model.get("type") != "notebook":
        return
    for cell in model["content"]["cells"]:
        for output in cell.get("outputs", ()):
            if output.get("metadata", {}).pop(FORM, False):
                output["data"].pop(WIDGET, None)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    server.contents_manager.register_pre_save_hook(leave_static)
