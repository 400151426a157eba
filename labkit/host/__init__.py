"""Host verification: facts become checks, checks become a verdict."""

from __future__ import annotations

from pathlib import Path

from labkit.host._collect import collect
from labkit.host._kvm_generation import Generation, generation_of, host_generation
from labkit.host._log import read_log_text
from labkit.host._model import (
    CheckStatus,
    Fact,
    Facts,
    HostVerdict,
    KernelLog,
    LogLine,
    LogState,
    Missing,
    Value,
)
from labkit.host._reasons import REASONS
from labkit.host._redact import host_names, redact, redact_text
from labkit.host._remedies import REMEDIES, Remedy
from labkit.host._result import CheckResult
from labkit.host._store import load, save
from labkit.host.checks import CHECKS, Check
from labkit.host.report import HostReport, diagnose

__all__ = [
    "CHECKS",
    "REASONS",
    "REMEDIES",
    "Check",
    "CheckResult",
    "CheckStatus",
    "Fact",
    "Facts",
    "Generation",
    "HostReport",
    "HostVerdict",
    "KernelLog",
    "LogLine",
    "LogState",
    "Missing",
    "Remedy",
    "Value",
    "collect",
    "diagnose",
    "generation_of",
    "host_generation",
    "host_names",
    "load",
    "redact",
    "redact_text",
    "save",
    "verify",
    "verify_log",
]


def verify(
    root: Path | str = "/", kernel_log: Path | str | None = None, facts: Facts | None = None
) -> HostReport:
    """Verify this host, the host whose file tree is ``root``, or the host that ``facts`` were saved on.

    ``kernel_log`` replaces the kernel log; ``facts`` replaces everything that would be read.
    """
    if facts is None:
        facts = collect(Path(root), Path(kernel_log) if kernel_log is not None else None)
    return diagnose(facts)


def verify_log(text: str, source: str = "kernel log") -> HostReport:
    """Diagnose a host from its kernel log alone; every other fact is unknown."""
    return diagnose(Facts(log=read_log_text(text, source)))
