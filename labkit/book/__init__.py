"""Executable documentation: notebooks run through papermill and published as HTML."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from labkit.book._record import Chapter, Reported, Run, read_record
from labkit.book._refresh import Refreshed, read_patterns, refresh
from labkit.book._runner import CELL_TIMEOUT, Plan, plan_run, run_plan
from labkit.book._site import publish
from labkit.book._source import find_notebooks, repository

if TYPE_CHECKING:
    from labkit.book._attested import attest_run
    from labkit.book._check import Alteration, RunCheck, check_run

__all__ = [
    "CELL_TIMEOUT",
    "Alteration",
    "Chapter",
    "Plan",
    "Refreshed",
    "Reported",
    "Run",
    "RunCheck",
    "attest_run",
    "check_run",
    "find_notebooks",
    "plan_run",
    "publish",
    "read_patterns",
    "read_record",
    "refresh",
    "repository",
    "run_plan",
]

# Loaded on first use: every notebook's process imports this room, and few need attestation.
_LATER = {
    "Alteration": "_check",
    "RunCheck": "_check",
    "attest_run": "_attested",
    "check_run": "_check",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"labkit.book.{_LATER[name]}"), name)
    raise AttributeError(f"module 'labkit.book' has no attribute {name!r}")
