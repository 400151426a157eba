"""A live stepper through static views: buttons and a slider; when done, only the static form is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from labkit.settings import Ui
from labkit.show._view import View
from labkit.show.form import end, tended
from labkit.show.front_end import Place, is_live
from labkit.show.markup import details, join


def storyboard(frames: Sequence[View]) -> View:
    """All steps at once: the first line of each, folding out."""
    html = join(details(frame.text.splitlines()[0], frame.html) for frame in frames)
    return View(html, "\n".join(frame.text.splitlines()[0] for frame in frames))


def stepper(frames: Sequence[View], ui: Ui = Ui.AUTO) -> View | None:
    """Step through views: a form in the running cell where a person looks on, otherwise the storyboard.

    The form ends, by its button, as the storyboard.
    """
    static = storyboard(frames)
    if not is_live(ui) or not frames:
        return static
    place = Place()

    def finish(form: Any) -> None:
        place.show(static)
        end(form, static)

    place.show(static, tended(_form(frames, finish), "step"))
    return None


def _form(frames: Sequence[View], finish: Callable[[Any], None]) -> Any:
    # Imported here: outside of notebooks nothing needs the widget machinery.
    import ipywidgets as widgets

    place = widgets.IntSlider(value=1, min=1, max=len(frames), description="step", continuous_update=True)
    back, forth, done = (widgets.Button(description=word) for word in ("back", "next", "done"))
    shown = widgets.HTML(str(frames[0].html))
    box = widgets.VBox([widgets.HBox([back, place, forth, done]), shown])

    def move(change: Any) -> None:
        shown.value = str(frames[change["new"] - 1].html)

    place.observe(move, names="value")
    back.on_click(lambda _: setattr(place, "value", max(place.min, place.value - 1)))
    forth.on_click(lambda _: setattr(place, "value", min(place.max, place.value + 1)))
    done.on_click(lambda _: finish(box))
    return box
