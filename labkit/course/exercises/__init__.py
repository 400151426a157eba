"""The exercises, a module each; adding one is a module here and a notebook of its name."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

from labkit.course.model import Exercise
from labkit.errors import UsageError

# name -> module that defines EXERCISE, in the order of the chapters.
NAMES: dict[str, str] = {
    "first-boot": "_first_boot",
    "hosts": "_hosts",
    "initramfs": "_initramfs",
    "mrtd": "_mrtd",
    "tampered-log": "_tampered_log",
    "own-rtmr2": "_own_rtmr2",
    "policy": "_policy",
    "rejected": "_rejected",
    "quote-dates": "_quote_dates",
    "td-state": "_td_state",
    "refusals": "_refusals",
    "page-trace": "_page_trace",
    "driver": "_driver",
    "shell-question": "_shell_question",
    "run-dirs": "_run_dirs",
    "study": "_study",
}


def exercise(name: str) -> Exercise:
    """The exercise of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in NAMES:
        near = get_close_matches(name, NAMES, 1)
        meant = f"Did you mean {near[0]}? " if near else ""
        raise UsageError(
            f"There is no assignment {name!r}.", f"{meant}`labkit assignment list` shows all of them."
        )
    found = import_module(f"labkit.course.exercises.{NAMES[name]}").EXERCISE
    assert isinstance(found, Exercise)
    return found


def all_exercises() -> list[Exercise]:
    """All exercises, in the order of the chapters."""
    return [exercise(name) for name in NAMES]
