"""The cells that a kernel has run, for as long as it lives."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass, field
from typing import Any

Entry = tuple[int, int, Any]

_FUNCTION = re.compile(r"\b([A-Za-z_]\w*)[ \t]*\(\)")


@dataclass
class History:
    """What Jupyter's history requests are answered from; there is one session, number 0."""

    _cells: list[tuple[int, str]] = field(default_factory=list)

    def add(self, number: int, code: str) -> None:
        """Remember one cell."""
        self._cells.append((number, code))

    def tail(self, count: int | None, output: bool) -> list[Entry]:
        """The last cells."""
        return self._entries(self._cells[-count:] if count else self._cells, output)

    def range(self, start: int | None, stop: int | None, output: bool) -> list[Entry]:
        """The cells from ``start`` to before ``stop``, by execution count."""
        low, high = start or 0, stop if stop is not None else 1 << 31
        return self._entries([cell for cell in self._cells if low <= cell[0] < high], output)

    def search(self, pattern: str | None, count: int | None, unique: bool, output: bool) -> list[Entry]:
        """The last cells that a glob pattern matches as a whole; all match where there is none."""
        found = [cell for cell in self._cells if fnmatch.fnmatchcase(cell[1], pattern or "*")]
        if unique:
            found = sorted({cell[1]: cell for cell in found}.values())
        return self._entries(found[-count:] if count else found, output)

    def functions(self) -> list[str]:
        """Names of functions that cells have defined, which the guest's shell cannot list itself."""
        return sorted({name for _, code in self._cells for name in _FUNCTION.findall(code)})

    def _entries(self, cells: list[tuple[int, str]], output: bool) -> list[Entry]:
        # With outputs an entry is a pair; of what cells printed nothing is remembered.
        return [(0, number, (code, None) if output else code) for number, code in cells]
