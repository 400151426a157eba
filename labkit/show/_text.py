"""Plain text for terminals and notebooks: control sequences out, columns aligned, emulation stamped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from labkit.returns import without_overwritten
from labkit.settings import Trust

# ECMA-48: CSI, OSC/DCS/SOS/PM/APC strings up to ST or BEL, two-byte escapes; then lone C0/C1 controls.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_](?:[^\x07\x1b\x9c]|\x1b(?!\\))*(?:\x07|\x1b\\|\x9c|\Z)"
    r"|\x1b[ -/]*[0-~]?"
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def clean(text: str, limit: int | None = None) -> str:
    """Make untrusted text fit to show: no escape sequences, no controls but newline and tab.

    Carriage returns at the end of a line go away; any other restarts the line, as on a terminal.
    With ``limit`` (characters), the middle of a longer text is replaced by a note of what was cut.
    """
    text = _CONTROLS.sub("", without_overwritten(_ESCAPES.sub("", text)))
    if limit is not None and len(text) > limit:
        head, tail = text[: limit // 2], text[len(text) - (limit - limit // 2) :]
        text = f"{head}\n[... {len(text) - limit} characters not shown ...]\n{tail}"
    return text


def one_line(text: str, limit: int = 240) -> str:
    """Untrusted text, fit to stand in one line: controls visible or gone, at most ``limit`` characters."""
    visible = text.replace("\r", "␍").replace("\n", "␊").replace("\t", "␉")
    safe = "".join(char if char.isprintable() else "\ufffd" for char in clean(visible[: 4 * limit]))
    return safe if len(safe) <= limit else f"{safe[:limit]}… ({len(text)} characters)"


def columns(rows: Iterable[Sequence[object]], gap: str = "  ") -> str:
    """Align rows of cells in columns; the last cell of a row is never padded."""
    cells = [[str(cell) for cell in row] for row in rows]
    count = max((len(row) for row in cells), default=0)
    widths = [max((len(row[i]) for row in cells if len(row) > i + 1), default=0) for i in range(count)]
    lines = [
        gap.join([*(cell.ljust(widths[i]) for i, cell in enumerate(row[:-1])), row[-1]] if row else [])
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def stamp(trust: Trust) -> str:
    """The prefix of a line of text about a result: ``[EMULATED] `` or nothing."""
    return f"[{trust.stamp}] " if trust.stamp else ""
