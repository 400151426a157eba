"""Host verification: facts become checks, checks become a verdict."""

from __future__ import annotations

from pathlib import Path

from labkit.host._collect import collect
from labkit.host._store import load, save
from labkit.host.checks import CHECKS
from labkit.host.log import read_log_text
from labkit.host.model import Facts, HostVerdict
from labkit.host.reasons import REASONS
from labkit.host.redaction import redact
from labkit.host.report import HostReport, diagnose

__all__ = [
    "CHECKS",
    "REASONS",
    "Facts",
    "HostReport",
    "HostVerdict",
    "collect",
    "diagnose",
    "load",
    "redact",
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


def verify_log(text: str) -> HostReport:
    """Diagnose a host from its kernel log alone; every other fact is unknown."""
    return diagnose(Facts(log=read_log_text(text, "kernel log")))
