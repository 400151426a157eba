"""Executable documentation: notebooks run through papermill and published as HTML."""

from __future__ import annotations

from labkit.book._attested import attest_run
from labkit.book._check import Alteration, RunCheck, check_run
from labkit.book._record import Chapter, Reported, Run, read_record
from labkit.book._refresh import Refreshed, read_patterns, refresh
from labkit.book._runner import CELL_TIMEOUT, Plan, plan_run, run_plan
from labkit.book._site import publish
from labkit.book._source import find_notebooks, repository

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
