"""``labkit.lab`` in the browser: predictions and what needs no machine; the rest says that it does.

Loaded by the page's worker in the place of ``labkit.lab``.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from labkit.errors import MissingComponent
from labkit.host import HostReport, verify
from labkit.learn.ask import Notebook
from labkit.measure import FirmwareMeasurement, LogReport, measure_firmware, parse_log
from labkit.measure.replay import report_log
from labkit.show.front_end import show_view

QUESTION = "application/vnd.labkit.question+json"
"""What the page makes a form of."""

_PREDICTIONS = Notebook()
_QUESTIONS: dict[str, Any] = {}


def predict(
    id: str,  # noqa: A002
    question: str,
    choices: Sequence[object] = (),
    *,
    order: Sequence[object] = (),
    tolerance: float | None = None,
    unit: str = "",
    answer: object | None = None,
) -> None:
    """Ask for a prediction; the page shows a form below the question."""
    asked = _QUESTIONS[id] = _PREDICTIONS.question(id, question, choices, order, tolerance, unit)
    if answer is not None:
        _PREDICTIONS.pose(asked)
        show_view(_PREDICTIONS.record(asked, answer))
        return
    view = _PREDICTIONS.pose(asked)
    cells = sys.modules["IPython"].get_ipython()
    form = {**dataclasses.asdict(asked), "kind": asked.kind.value}
    cells.publish({"text/plain": view.text, "text/html": str(view.html), QUESTION: form})


def record(id: str, answer: object) -> None:  # noqa: A002
    """Keep an answer from the page's form."""
    show_view(_PREDICTIONS.record(_QUESTIONS[id], answer))


def outcome(id: str, found: object, why: str = "") -> None:  # noqa: A002
    """Show what was predicted beside what was found."""
    show_view(_PREDICTIONS.tell(id, found, why))


def predictions(chapter: str) -> None:
    """Show what was predicted in a chapter."""
    show_view(_PREDICTIONS.summary(chapter))


def verify_host() -> HostReport:
    """What can be said of this browser's machine: nothing."""
    return verify()


def measure(firmware_file: Path | str) -> FirmwareMeasurement:
    """The sections of a TDVF, and its MRTD in both page orders."""
    return measure_firmware(Path(firmware_file).read_bytes(), str(firmware_file))


def event_log(data: bytes) -> LogReport:
    """An event log, event by event, with the registers that it replays to."""
    return report_log(parse_log(data))


def __getattr__(name: str) -> NoReturn:
    if name.startswith("__"):
        raise AttributeError(name)
    raise MissingComponent(
        f"lab.{name} needs a machine that boots, and a browser has none.",
        "Read the recorded output below the cell, or install labkit.",
    )
