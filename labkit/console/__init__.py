"""A framed shell on a byte stream: one command, one answer, one exit status; needs no QEMU."""

from __future__ import annotations

from labkit.console._command import CommandResult, Listener
from labkit.console._console import Console
from labkit.console._dialect import open_documents

__all__ = [
    "CommandResult",
    "Console",
    "Listener",
    "open_documents",
]
