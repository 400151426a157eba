"""A form of widgets, tended where a notebook's page is: names, keys, and where the keyboard goes on."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from labkit.show._view import View

SAID = "labkit-said"
"""The class of the line in which a form speaks: it is read aloud when it changes."""

CHOICES = "labkit-choices"
"""The class of radio buttons that are one choice together."""

_FORM = "labkit-form"


def tended(box: Any, name: str) -> Any:
    """``box``, which is a form called ``name``, with the script that looks after it.

    The script is in no output of the notebook, and so it is not saved.
    """
    # Imported here: outside of notebooks nothing needs the widget machinery.
    import ipywidgets as widgets

    script = files("labkit.show").joinpath("form.js").read_text(encoding="utf-8")
    call = f"({script.strip()})(element, {json.dumps(name)})"
    run = {"output_type": "display_data", "data": {"application/javascript": call}, "metadata": {}}
    box.add_class(_FORM)
    box.children = (*box.children, widgets.Output(outputs=(run,), layout=widgets.Layout(display="none")))
    return box


def end(box: Any, view: View) -> None:
    """Leave ``view`` where the form was: a page that was loaded anew has nothing but the box."""
    import ipywidgets as widgets

    box.remove_class(_FORM)
    box.children = (widgets.HTML(str(view.html)),)
