"""Explore a result: where a person looks on, its parts are listed below it, and one can be chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from labkit.settings import Settings
from labkit.show._view import View
from labkit.show.form import tended
from labkit.show.front_end import is_live, live_form, note_form
from labkit.show.markup import Markup

_ALL = "all"
_ROWS = 12
_MOST = 2000
"""Parts that are listed; the whole result has all of them."""


class Shown(Protocol):
    """What has a static form of its own."""

    def _repr_html_(self) -> str: ...


@dataclass(frozen=True)
class ListedPart:
    """A part of a result. label: its line in the list; group: those of one group can be listed alone."""

    label: str
    html: Markup
    group: str = ""


@dataclass(frozen=True, repr=False)
class ExploredView(View):
    """A view that can be explored by its parts. name: of the live form."""

    name: str
    parts: tuple[ListedPart, ...]

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        return explored(self.name, self, lambda: self.parts)


def explored(
    name: str, result: Shown, parts: Callable[[], Sequence[ListedPart]]
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What ``_repr_mimebundle_`` adds to the own forms of ``result``: a live one called ``name``.

    None where nobody looks on. What a notebook keeps are the result's own forms.
    """
    if not is_live(Settings.load().ui):
        return None
    note_form()
    return live_form(tended(_form(result, parts()[:_MOST]), name))


def _form(result: Shown, parts: Sequence[ListedPart]) -> Any:
    # Imported here: outside of notebooks nothing needs the widget machinery.
    import ipywidgets as widgets

    wide = widgets.Layout(width="auto")
    listed = widgets.Select(rows=min(_ROWS, max(2, len(parts))), layout=wide)
    shown = widgets.HTML()
    groups = list(dict.fromkeys(part.group for part in parts if part.group))
    chooser = widgets.Dropdown(options=[_ALL, *groups], description="show")

    def fill(_: Any) -> None:
        chosen = [n for n, part in enumerate(parts) if chooser.value in (_ALL, part.group)]
        listed.options = [(parts[number].label, number) for number in chosen]
        listed.index = 0 if chosen else None

    def show(_: Any) -> None:
        shown.value = str(parts[listed.value].html) if listed.value is not None else ""

    chooser.observe(fill, names="value")
    listed.observe(show, names="value")
    fill(None)
    whole = widgets.HTML(result._repr_html_())
    return widgets.VBox([whole, *([chooser] if len(groups) > 1 else []), listed, shown])
