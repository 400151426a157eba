"""Whether a person looks on, and how a cell shows something that changes later."""

from __future__ import annotations

import sys
from typing import Any
from uuid import uuid4

from labkit.settings import Ui
from labkit.show._view import View

WIDGET = "application/vnd.jupyter.widget-view+json"
FORM = "labkit_form"
"""Marks an output that is a live form: saved without its widget, it is its static twin."""


def is_live(ui: Ui) -> bool:
    """Whether results should be live: asked for, or left open where a person runs the cell.

    papermill, nbclient and nbval run cells without letting them ask for input; a front end lets them.
    """
    if ui is not Ui.AUTO:
        return ui is Ui.LIVE
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return False
    try:
        parent = kernel.get_parent("shell")
    except (AttributeError, LookupError):
        return False
    return bool(parent.get("content", {}).get("allow_stdin", False))


def live_form(widget: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Data and metadata by which an output shows ``widget`` until it is saved, beside its static twin."""
    return {WIDGET: {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}}, {FORM: True}


class Place:
    """A place in a cell's output: shows a live form first, and in the end what is to be saved."""

    def __init__(self) -> None:
        self._id = uuid4().hex
        self._shown = False

    def show(self, view: View, widget: Any = None) -> None:
        """Show ``view`` here, or ``widget`` where the front end has widgets, with ``view`` as its text."""
        form, metadata = ({}, {}) if widget is None else live_form(widget)
        bundle = {"text/plain": view.text, "text/html": str(view.html), **form}
        _publish(bundle, metadata=metadata, transient={"display_id": self._id}, update=self._shown)
        self._shown = True


def show_view(view: View) -> None:
    """Show a view in the cell that runs, or print it where there is no notebook."""
    if "IPython" in sys.modules:
        from IPython import get_ipython

        if get_ipython() is not None:
            _publish({"text/plain": view.text, "text/html": str(view.html)})
            return
    sys.stdout.write(f"{view.text}\n")


def _publish(data: dict[str, Any], **words: Any) -> None:
    from IPython import display

    publish: Any = display.publish_display_data
    publish(data=data, **words)
