"""A live stepper through static views: buttons and a slider; when done, only the static form is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from labkit.settings import Ui
from labkit.show._view import View
from labkit.show.front_end import is_live
from labkit.show.markup import details, join


def storyboard(frames: Sequence[View]) -> View:
    """All steps at once: the first line of each, folding out."""
    html = join(details(frame.text.splitlines()[0], frame.html) for frame in frames)
    return View(html, "\n".join(frame.text.splitlines()[0] for frame in frames))


def stepper(frames: Sequence[View], ui: Ui = Ui.AUTO) -> Any:
    """Step through views: an ipywidgets box where a person looks on, otherwise the storyboard.

    The box ends, by its button, as the storyboard.
    """
    if not is_live(ui) or not frames:
        return storyboard(frames)
    # Imported here: outside of notebooks nothing needs the widget machinery.
    import ipywidgets as widgets

    place = widgets.IntSlider(value=0, min=0, max=len(frames) - 1, description="step", continuous_update=True)
    back, forth, done = (widgets.Button(description=word) for word in ("back", "next", "done"))
    shown = widgets.HTML(str(frames[0].html))
    box = widgets.VBox([widgets.HBox([back, place, forth, done]), shown])

    def move(change: Any) -> None:
        shown.value = str(frames[change["new"]].html)

    def finish(_: Any) -> None:
        shown.value = str(storyboard(frames).html)
        box.children = (shown,)

    place.observe(move, names="value")
    back.on_click(lambda _: setattr(place, "value", max(0, place.value - 1)))
    forth.on_click(lambda _: setattr(place, "value", min(place.max, place.value + 1)))
    done.on_click(finish)
    return box
