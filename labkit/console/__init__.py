"""A framed shell on a byte stream: one command, one answer, one exit status; needs no QEMU."""

from __future__ import annotations

from labkit.console._command import CommandResult, Listener
from labkit.console._console import Console
from labkit.console._dialect import open_documents
from labkit.console.frames import shell_quote
from labkit.console.stream import SocketStream

__all__ = [
    "CommandResult",
    "Console",
    "Listener",
    "SocketStream",
    "open_documents",
    "shell_quote",
]
