"""Executable documentation: notebooks run through papermill and published as HTML."""

from __future__ import annotations

from labkit.book._record import Chapter, Reported, Run, read_record
from labkit.book._runner import CELL_TIMEOUT, Plan, plan_run, run_plan
from labkit.book._site import publish

__all__ = [
    "CELL_TIMEOUT",
    "Chapter",
    "Plan",
    "Reported",
    "Run",
    "plan_run",
    "publish",
    "read_record",
    "run_plan",
]
