"""Executable documentation: notebooks run through papermill and published as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.later import later

if TYPE_CHECKING:
    from labkit.runs._attested import attest_run
    from labkit.runs.checking import check_run
    from labkit.runs.record import Chapter, Run, read_record
    from labkit.runs.refreshing import refresh
    from labkit.runs.runner import plan_run, run_plan
    from labkit.runs.site import publish
    from labkit.runs.source import find_notebooks

__all__ = [
    "Chapter",
    "Run",
    "attest_run",
    "check_run",
    "find_notebooks",
    "plan_run",
    "publish",
    "read_record",
    "refresh",
    "run_plan",
]

# Loaded on first use: the guard of every notebook and the process that executes it import this package, and
# need a module or two of it.
__getattr__ = later(
    __name__,
    {
        "Chapter": "record",
        "Run": "record",
        "attest_run": "_attested",
        "check_run": "checking",
        "find_notebooks": "source",
        "plan_run": "runner",
        "publish": "site",
        "read_record": "record",
        "refresh": "refreshing",
        "run_plan": "runner",
    },
)
