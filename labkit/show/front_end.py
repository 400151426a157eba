"""Whether a person looks on, and how a cell shows something that changes later."""

from __future__ import annotations

import os
import sys
from typing import Any
from uuid import uuid4

from labkit.settings import Ui
from labkit.show._view import View
from labkit.show.markup import Markup, element

WIDGET = "application/vnd.jupyter.widget-view+json"
FORM = "labkit_form"
"""Marks an output that is a live form: its kernel's process and its widget, which is not saved with it."""

SAVES = "LABKIT_SAVES_FORMS"
"""The variable of a kernel's environment that is set where what saves its notebook leaves the static twin."""

_LIVES = "A form lives as long as its kernel. Where none is shown here, run this cell again."


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
    return widget_view(widget.model_id), {FORM: {"kernel": os.getpid(), "widget": widget.model_id}}


def widget_view(model: str) -> dict[str, Any]:
    """What shows a widget in an output that holds it."""
    return {WIDGET: {"version_major": 2, "version_minor": 0, "model_id": model}}


_NOTHING = View(Markup(""), "")


class Place:
    """A place in a cell's output: shows a live form first, and in the end what is to be saved."""

    def __init__(self) -> None:
        self._id = uuid4().hex
        self._shown = False
        self._beside: Place | None = None

    def show(self, view: View, widget: Any = None) -> None:
        """Show ``view`` here, or ``widget`` where the front end has widgets, with ``view`` as its text."""
        form, metadata = ({}, {}) if widget is None else live_form(widget)
        bundle = {"text/plain": view.text, "text/html": str(view.html), **form}
        _publish(bundle, metadata=metadata, transient={"display_id": self._id}, update=self._shown)
        self._shown = True
        if self._beside is not None:
            self._beside.show(_NOTHING)
        self._beside = None if widget is None else note_form()


def note_form() -> Place | None:
    """Say beside a form why a page may show none, where nothing takes the widget out of what is saved."""
    if SAVES in os.environ:
        return None
    place = Place()
    place.show(View(element("small", _LIVES), _LIVES))
    return place


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
