"""What is saved of a form that is still open: its static twin, since a form is nothing without its kernel.

An extension of Jupyter's server, through which JupyterLab and Notebook 7 save; others' widgets stay. As long
as the kernel lives, a page that is loaded anew gets the form back.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from typing import Any

from labkit.show.front_end import FORM, SAVES, WIDGET, widget_view
from labkit.show.markup import element

EXTENSION = {"ServerApp": {"jpserver_extensions": {__name__: True}}}
"""The configuration that switches it on."""

_LATER = (
    "The page was loaded anew while this form was open. "
    "What was done in it afterwards is not kept here: run this cell again."
)


def leave_static(model: dict[str, Any], **_: Any) -> None:
    """Take the widget out of each open form of a notebook that is about to be saved."""
    for output in _forms(model):
        if output["data"].pop(WIDGET, None) is None:
            # It has ended, or its kernel has.
            del output["metadata"][FORM]


def give_live(model: dict[str, Any], processes: Container[int]) -> None:
    """Put the widget back into each form of a notebook whose kernel is one of the living ``processes``."""
    for output in _forms(model):
        form, data = output["metadata"][FORM], output["data"]
        if not (isinstance(form, dict) and form.get("kernel") in processes):
            continue
        data.update(widget_view(str(form.get("widget"))))
        # The page knows this output no more as the one that the kernel changes.
        if _LATER not in data.get("text/plain", ""):
            data["text/plain"] = f"{data.get('text/plain', '')}\n{_LATER}"
            data["text/html"] = f"{data.get('text/html', '')}{element('p', _LATER)}"


def _forms(model: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if model.get("type") == "notebook":
        for cell in model["content"]["cells"]:
            yield from (output for output in cell.get("outputs", ()) if FORM in output.get("metadata", ()))


async def _processes(server: Any, path: str) -> set[int]:
    """The processes of the kernels that a notebook has."""
    sessions = await server.session_manager.list_sessions()
    own = [session["kernel"]["id"] for session in sessions if session["path"] == path.strip("/")]
    kernels = [server.kernel_manager.get_kernel(kernel) for kernel in own]
    # A kernel on another machine has no process here.
    return {getattr(kernel.provisioner, "pid", None) or 0 for kernel in kernels} - {0}


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    from jupyter_server.utils import ensure_async

    os.environ[SAVES] = "1"
    manager = server.contents_manager
    manager.register_pre_save_hook(leave_static)
    read = manager.get

    async def get_notebook(path: str, **words: Any) -> Any:
        model = await ensure_async(read(path, **words))
        give_live(model, await _processes(server, path))
        return model

    def get(path: str, *more: Any, **words: Any) -> Any:
        # A page names the type of what it opens. Others, such as an export, get what is in the file.
        opens = words.get("type") == "notebook" and words.get("content", True)
        return get_notebook(path, **words) if opens else read(path, *more, **words)

    manager.get = get
