"""Executable documentation: notebooks run through papermill and published as HTML."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from labkit.runs._execute import CellFailure, Execution
from labkit.runs._parameters import RUN_DIR, assign
from labkit.runs._record import (
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
from labkit.runs._refresh import read_patterns, refresh
from labkit.runs._reports import junit as junit_report
from labkit.runs._reports import next_steps
from labkit.runs._reports import summary as summary_report
from labkit.runs._runner import (
    CELL_TIMEOUT,
    check_kernels,
    complete,
    execute_guarded,
    plan_run,
    run_plan,
)
from labkit.runs._site import publish
from labkit.runs._source import NotebookSource, find_notebooks, load_source, read_notebook, repository
from labkit.runs._statement import digest as statement_digest
from labkit.runs._statement import encode as encode_statement

if TYPE_CHECKING:
    from labkit.runs._attested import attest_run
    from labkit.runs._check import RunCheck, check_run

__all__ = [
    "CELL_TIMEOUT",
    "RUN_DIR",
    "CellFailure",
    "Chapter",
    "Execution",
    "NotebookSource",
    "Reported",
    "Run",
    "RunCheck",
    "assign",
    "attest_run",
    "check_kernels",
    "check_run",
    "collect_host",
    "collect_versions",
    "complete",
    "encode_statement",
    "execute_guarded",
    "find_notebooks",
    "junit_report",
    "load_source",
    "next_steps",
    "plan_run",
    "publish",
    "read_notebook",
    "read_patterns",
    "read_record",
    "read_results",
    "refresh",
    "repository",
    "result_files",
    "run_plan",
    "statement_digest",
    "summary_report",
    "write_record",
]

# Loaded on first use: every notebook's process imports this package, and few need attestation.
_LATER = {
    "RunCheck": "_check",
    "attest_run": "_attested",
    "check_run": "_check",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"labkit.runs.{_LATER[name]}"), name)
    raise AttributeError(f"module 'labkit.runs' has no attribute {name!r}")
