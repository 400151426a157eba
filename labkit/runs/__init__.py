"""Executable documentation: notebooks run through papermill and published as HTML."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from labkit.runs._record import Chapter, Reported, Run, read_record
from labkit.runs._refresh import Refreshed, read_patterns, refresh
from labkit.runs._runner import CELL_TIMEOUT, RunPlan, plan_run, run_plan
from labkit.runs._site import publish
from labkit.runs._source import find_notebooks, repository
from labkit.runs._statement import digest as statement_digest
from labkit.runs._statement import encode as encode_statement

if TYPE_CHECKING:
    from labkit.runs._attested import attest_run
    from labkit.runs._check import Alteration, RunCheck, check_run

__all__ = [
    "CELL_TIMEOUT",
    "Alteration",
    "Chapter",
    "Refreshed",
    "Reported",
    "Run",
    "RunCheck",
    "RunPlan",
    "attest_run",
    "check_run",
    "encode_statement",
    "find_notebooks",
    "plan_run",
    "publish",
    "read_patterns",
    "read_record",
    "refresh",
    "repository",
    "run_plan",
    "statement_digest",
]

# Loaded on first use: every notebook's process imports this package, and few need attestation.
_LATER = {
    "Alteration": "_check",
    "RunCheck": "_check",
    "attest_run": "_attested",
    "check_run": "_check",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"labkit.runs.{_LATER[name]}"), name)
    raise AttributeError(f"module 'labkit.runs' has no attribute {name!r}")
