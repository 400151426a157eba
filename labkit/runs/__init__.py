"""Executable documentation: notebooks run through papermill and published as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.later import later

if TYPE_CHECKING:
    from labkit.runs._attested import attest_run
    from labkit.runs.checking import check_run
    from labkit.runs.record import Run
    from labkit.runs.site import publish

__all__ = [
    "Run",
    "attest_run",
    "check_run",
    "publish",
]

# Loaded on first use: the guard of every notebook and the process that executes it import this package, and
# need a module or two of it.
__getattr__ = later(
    __name__,
    {
        "Run": "record",
        "attest_run": "_attested",
        "check_run": "checking",
        "publish": "site",
    },
)
