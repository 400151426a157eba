"""Executable documentation: notebooks run through papermill and published as HTML."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.runs._attested import attest_run
    from labkit.runs._check import RunCheck, check_run
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

# Loaded on first use: the guard of every notebook and the process that executes it import this package, and
# need a module or two of it.
_PLACES = {
    "CELL_TIMEOUT": "_runner.CELL_TIMEOUT",
    "CellFailure": "_execute.CellFailure",
    "Chapter": "_record.Chapter",
    "Execution": "_execute.Execution",
    "NotebookSource": "_source.NotebookSource",
    "RUN_DIR": "_parameters.RUN_DIR",
    "Reported": "_record.Reported",
    "Run": "_record.Run",
    "RunCheck": "_check.RunCheck",
    "assign": "_parameters.assign",
    "attest_run": "_attested.attest_run",
    "check_kernels": "_runner.check_kernels",
    "check_run": "_check.check_run",
    "collect_host": "_record.collect_host",
    "collect_versions": "_record.collect_versions",
    "complete": "_runner.complete",
    "encode_statement": "_statement.encode",
    "execute_guarded": "_runner.execute_guarded",
    "find_notebooks": "_source.find_notebooks",
    "junit_report": "_reports.junit",
    "load_source": "_source.load_source",
    "next_steps": "_reports.next_steps",
    "plan_run": "_runner.plan_run",
    "publish": "_site.publish",
    "read_notebook": "_source.read_notebook",
    "read_patterns": "_refresh.read_patterns",
    "read_record": "_record.read_record",
    "read_results": "_record.read_results",
    "refresh": "_refresh.refresh",
    "repository": "_source.repository",
    "result_files": "_record.result_files",
    "run_plan": "_runner.run_plan",
    "statement_digest": "_statement.digest",
    "summary_report": "_reports.summary",
    "write_record": "_record.write_record",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        module, _, attribute = _PLACES[name].partition(".")
        return getattr(import_module(f"labkit.runs.{module}"), attribute)
    raise AttributeError(f"module 'labkit.runs' has no attribute {name!r}")
