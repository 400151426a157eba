"""A TDVM at hand: its timeline, registers and console, and buttons to save, restore and attest it."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labkit.errors import LabkitError, UsageError
from labkit.platforms import Tdvm, choose_platform, fresh_nonce
from labkit.settings import Settings
from labkit.show import View, clean
from labkit.show.form import SAID, end, tended
from labkit.show.front_end import Place, is_live
from labkit.show.markup import join, pre
from labkit.show.measure import scrolled
from labkit.vm.launch import Snapshot

_SHOWN = 20_000
"""Characters of the console that are shown."""


def static_panel(tdvm: Tdvm) -> View:
    """What the panel leaves in a saved notebook: headline, timeline, registers."""
    text = f"{tdvm.headline}\n{tdvm.timeline}\n{tdvm.measured}"
    html = join([pre(tdvm.headline), tdvm.timeline._repr_html_(), tdvm.measurements._repr_html_()])
    return View(html, text)


def show_panel(tdvm: Tdvm, settings: Settings) -> None:
    """Show a TDVM in the running cell: buttons and tabs where a person looks on, else its static form.

    Raises:
        VmError: the boot was not measured.
    """
    place = Place()

    def done(form: Any) -> None:
        view = static_panel(tdvm)
        place.show(view)
        end(form, view)

    panel = Panel(tdvm, settings, done) if is_live(settings.ui) else None
    place.show(static_panel(tdvm), tended(panel.box, "TDVM") if panel else None)


class Panel:
    """The live form. ``done`` is called with its box when the person has finished with it."""

    def __init__(self, tdvm: Tdvm, settings: Settings, done: Callable[[Any], None]) -> None:
        # Imported here: outside of notebooks nothing needs the widget machinery.
        import ipywidgets as widgets

        self._tdvm, self._settings = tdvm, settings
        self._timeline, self._registers, self._console = (widgets.HTML() for _ in range(3))
        self._said = widgets.HTML()
        self._said.add_class(SAID)
        buttons = []
        for word, tip, action in (
            ("Snapshot", "Save the whole machine as it is now", self._save),
            ("Restore", "Go back to what was saved", self._restore),
            ("Attest", "Take evidence, verify it, and appraise it", self._attest),
            ("Refresh", "Read registers and console again", lambda: ""),
        ):
            button = widgets.Button(description=word, tooltip=tip)
            button.on_click(self._reaction(word, action))
            buttons.append(button)
        finish = widgets.Button(description="Done", tooltip="Leave the static form in the notebook")
        tabs = widgets.Tab(children=[self._timeline, self._registers, self._console])
        for number, title in enumerate(("timeline", "registers", "console")):
            tabs.set_title(number, title)
        self._buttons = buttons
        self.box = widgets.VBox(
            [widgets.HTML(str(pre(tdvm.headline))), tabs, widgets.HBox([*buttons, finish]), self._said]
        )
        finish.on_click(lambda _: done(self.box))
        self._draw()

    def _reaction(self, word: str, action: Callable[[], str]) -> Callable[[Any], None]:
        def react(pressed: Any) -> None:
            # The pressed one stays enabled: a button that is disabled loses the keyboard.
            others = [button for button in self._buttons if button is not pressed]
            for button in others:
                button.disabled = True
            self._said.value = str(pre(f"{word} …"))
            began = time.monotonic()
            try:
                said = action() or "done"
                self._draw()
                self._said.value = (
                    said
                    if said.startswith("<")
                    else str(pre(f"{word}: {said} ({time.monotonic() - began:.1f} s)"))
                )
            except LabkitError as error:
                self._said.value = str(pre(f"{word}: {error.message} {error.remedy or ''}"))
            finally:
                for button in others:
                    button.disabled = False

        return react

    def _draw(self) -> None:
        self._timeline.value = str(self._tdvm.timeline._repr_html_())
        self._registers.value = str(self._tdvm.measurements._repr_html_())
        self._console.value = str(scrolled(pre(_console_of(self._tdvm))))

    @property
    def _folder(self) -> Path:
        # The name says whose it is: what a killed process leaves is swept with the next snapshot.
        return self._settings.cache_dir / "snapshots" / f".panel.{os.getpid()}"

    def _snapshot(self) -> Snapshot:
        return Snapshot(self._folder / "memory", self._folder / "vars.fd")

    def _save(self) -> str:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700, parents=True)
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        self._tdvm.machine.save(self._snapshot())
        return "saved"

    def _restore(self) -> str:
        if not self._snapshot().memory.exists():
            raise UsageError("Nothing was saved yet.", "Press Snapshot first.")
        platform = choose_platform(self._tdvm.platform, self._settings)
        self._tdvm.go_back(platform.resume(self._tdvm, self._snapshot()))
        return "back at what was saved"

    def _attest(self) -> str:
        platform = choose_platform(self._tdvm.platform, self._settings)
        return str(platform.attest(self._tdvm, fresh_nonce())._repr_html_())


def _console_of(tdvm: Tdvm) -> str:
    text = ""
    for name in ("snapshot-console.log", "console.log"):
        with contextlib.suppress(OSError):
            text += (tdvm.run_dir / name).read_bytes().decode("utf-8", "replace")
    return clean(text, _SHOWN)
