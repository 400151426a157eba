"""Executable documentation: notebooks run through papermill and published as HTML."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from labkit.book._execute import Failure, Outcome
from labkit.book._parameters import RUN_DIR, assign
from labkit.book._record import (
    Chapter,
    Reported,
    Run,
    collect_host,
    collect_versions,
    read_record,
    read_results,
    result_files,
    write_record,
)
from labkit.book._refresh import Refreshed, read_patterns, refresh
from labkit.book._runner import (
    CELL_TIMEOUT,
    Plan,
    check_kernels,
    complete,
    execute_guarded,
    plan_run,
    run_plan,
)
from labkit.book._site import publish
from labkit.book._source import Source, find_notebooks, load_source, repository

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
    "Failure",
    "Outcome",
    "RUN_DIR",
    "assign",
    "check_kernels",
    "complete",
    "execute_guarded",
    "load_source",
    "Source",
    "read_results",
    "result_files",
    "write_record",
    "collect_host",
    "collect_versions",
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
