"""What a sweep came to: one table of parameters and recorded values, the same for everyone who runs it.

``results.csv`` holds nothing that differs between two runs with the same outcome; when and where a row
ran, and for how long, stands in ``results.json`` and ``results.parquet`` besides.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from labkit.files import csv_cell, write_whole
from labkit.settings import Settings, Trust, Ui
from labkit.show import View, clean, columns, one_line, stamp
from labkit.show.markup import join
from labkit.show.study import move_table, study_table, time_bars
from labkit.studies.table import Design, SweepRow

CSV, JSON, PARQUET = "results.csv", "results.json", "results.parquet"

REGISTERS = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3")

_FIRST = ("row", "key")
_THEN = ("status", "reason", "message")
_LAST = ("platform", "trust", "accelerator")
_TIMES = ("seconds", "started", "worker", "output")
_SHOWN = 200
"""Rows that a notebook shows."""


@dataclass(frozen=True)
class Results:
    """The rows of a sweep so far; ``entries`` by the number of the row. seconds: how long this sweep took.

    reused: how many rows an earlier sweep on this folder had finished.
    """

    design: Design
    directory: Path
    entries: dict[int, dict[str, Any]]
    reused: int = 0
    seconds: float = 0.0

    @property
    def done(self) -> int:
        """How many rows have ended."""
        return len(self.entries)

    @property
    def passed(self) -> int:
        """How many rows passed."""
        return self._count["passed"]

    @property
    def failed(self) -> int:
        """How many rows failed."""
        return self._count["failed"]

    @cached_property
    def _count(self) -> Counter[str]:
        return Counter(str(entry["status"]) for entry in self.entries.values())

    @property
    def eta(self) -> str:
        """When the rest will be done, by the pace so far."""
        new, left = self.done - self.reused, len(self.design.rows) - self.done
        return f"about {self.seconds / new * left:.0f} s left" if new and left else "done" if not left else ""

    @property
    def trust(self) -> Trust | None:
        """The lowest trust that a row reports; None where none does."""
        words = {entry.get("trust") for entry in self.entries.values()} - {None}
        return Trust.NONE if "none" in words else Trust.HARDWARE if words else None

    @property
    def recorded_names(self) -> tuple[str, ...]:
        """The names that notebooks recorded, in the order of the rows."""
        names: dict[str, None] = {}
        for number in sorted(self.entries):
            names |= dict.fromkeys(self.entries[number].get("recorded") or {})
        return tuple(names)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table without times."""
        return tuple(self._names())

    def _names(self) -> dict[str, tuple[str, str]]:
        """Every column's name, with where its values come from; a name that is taken gets a prefix."""
        found: dict[str, tuple[str, str]] = {}
        fixed = {*_FIRST, *_THEN, *_LAST, *_TIMES}
        for name in _FIRST:
            found[name] = ("fixed", name)
        for name in self.design.columns:
            found[f"parameter.{name}" if name in fixed else name] = ("given", name)
        for name in _THEN:
            found[name] = ("fixed", name)
        for name in self.recorded_names:
            free = name not in fixed and name not in found
            found[name if free else f"recorded.{name}"] = ("recorded", name)
        for name in self._registers():
            if name not in found:
                found[name] = ("registers", name)
        for name in _LAST:
            found[name] = ("fixed", name)
        return found

    def registers(self) -> list[dict[str, str]]:
        """The measurement registers of each row: those that its TDVM left, or that the notebook recorded."""
        found = []
        for row in self.design.rows:
            entry = self.entries.get(row.number, {})
            said = {
                name: value
                for name, value in (entry.get("recorded") or {}).items()
                if name in REGISTERS and isinstance(value, str)
            }
            found.append({**(entry.get("registers") or {}), **said})
        return found

    def moves(self) -> dict[str, dict[str, str]]:
        """For each parameter: which registers move when it alone changes.

        Every two rows that differ in that parameter alone are compared: ``moves``, ``stays``, or ``moves
        in N of M``.
        """
        registers = self.registers()
        found: dict[str, dict[str, str]] = {}
        for column in self.design.columns:
            groups: dict[str, list[tuple[Any, dict[str, str]]]] = defaultdict(list)
            for row, values in zip(self.design.rows, registers, strict=True):
                others = {name: value for name, value in row.given.items() if name != column}
                if values:
                    groups[json.dumps(others, sort_keys=True)].append((row.given.get(column), values))
            words = {name: _moved(groups.values(), name) for name in REGISTERS}
            kept = {name: word for name, word in words.items() if word}
            if kept:
                found[column] = kept
        return found

    def _registers(self) -> list[str]:
        names = {name for entry in self.entries.values() for name in entry.get("registers") or {}}
        return sorted(names)

    def table(self) -> list[dict[str, Any]]:
        """A row a row, those that have not ended too, without times."""
        names = self._names()
        return [
            {column: self._cell(row, kind, name) for column, (kind, name) in names.items()}
            for row in self.design.rows
        ]

    def _cell(self, row: SweepRow, kind: str, name: str) -> Any:
        if kind == "given":
            return row.given.get(name)
        entry = self.entries.get(row.number, {"status": "waiting"})
        if kind == "fixed":
            return self._fixed(row, entry, name)
        values = entry.get(kind) or {}
        return values.get(name)

    def _fixed(self, row: SweepRow, entry: dict[str, Any], name: str) -> Any:
        if name == "row":
            return row.number
        if name == "key":
            return row.key
        if name == "message":
            failure = entry.get("failure")
            # The folder's name differs from run to run, and says nothing.
            return one_line(str(failure["evalue"]).replace(str(self.directory), ".")) if failure else None
        return entry.get(name)

    def full_table(self) -> list[dict[str, Any]]:
        """The same with times, places and notebooks."""
        found = []
        for row, cells in zip(self.design.rows, self.table(), strict=True):
            entry = self.entries.get(row.number, {})
            more = {name: entry.get(name) for name in _TIMES}
            if more["output"]:
                more["output"] = f"rows/{row.key}/{more['output']}"
            found.append({**cells, **more})
        return found

    def to_dict(self) -> dict[str, Any]:
        """The sweep as plain data."""
        return {
            "notebook": self.design.source.name,
            "rows": len(self.design.rows),
            "passed": self.passed,
            "failed": self.failed,
            "reused": self.reused,
            "trust": self.trust.value if self.trust else None,
            "stamp": self.trust.stamp if self.trust else None,
            "seconds": round(self.seconds, 3),
            "columns": list(self.columns),
            "directory": str(self.directory),
            "results": str(self.directory / CSV),
            "site": str(self.directory / "site/index.html"),
            "failures": dict(self.reasons()),
        }

    def reasons(self) -> list[tuple[str, int]]:
        """How many rows failed for which reason, the most frequent first."""
        failed = Counter(
            str(entry.get("reason")) for entry in self.entries.values() if entry["status"] == "failed"
        )
        return sorted(failed.items(), key=lambda pair: (-pair[1], pair[0]))

    def __str__(self) -> str:
        mark = stamp(self.trust) if self.trust else ""
        reused = f", {self.reused} of them earlier" if self.reused else ""
        lines = [
            f"{mark}{self.passed} of {len(self.design.rows)} rows passed{reused}; {self.seconds:.1f} s",
            *(f"{count} failed: {reason}" for reason, count in self.reasons()),
            str(self.directory / CSV),
        ]
        return clean("\n".join(lines))

    def __repr__(self) -> str:
        return f"<Results of {self.design.source.name}: {self.passed} passed, {self.failed} failed>"

    def _repr_html_(self) -> str:
        return self.view()._repr_html_()

    def view(self, note: str = "") -> View:
        """The times, what moved and the table, for a notebook; ``note`` replaces the summary."""
        done = [row for row in self.full_table() if row["status"] != "waiting"]
        moves = self.moves()
        html = join(
            [
                note or str(self).partition("\n")[0],
                time_bars(done) if Settings.load().ui is not Ui.STATIC and done else "",
                move_table(moves) if moves else "",
                study_table(done, self.columns, most=_SHOWN),
            ]
        )
        return View(html, f"{note or self}\n{self.preview()}".rstrip())

    def preview(self) -> str:
        """The table as text, failures first."""
        table = [cells for cells in self.table() if cells["status"] != "waiting"]
        table.sort(key=lambda cells: (cells["status"] != "failed", cells["row"]))
        names = [name for name in self.columns if any(cells[name] not in (None, "") for cells in table)]
        names.remove("key") if "key" in names else None
        rows = [[one_line(_text(cells[name]), 24) for name in names] for cells in table[:_SHOWN]]
        return columns([names, *rows])


def _moved(groups: Iterable[Sequence[tuple[Any, dict[str, str]]]], register: str) -> str:
    """What a register does between any two rows of a group; empty where there are no two."""
    pairs = [
        one[1][register] != other[1][register]
        for group in groups
        for one, other in itertools.combinations(group, 2)
        if one[0] != other[0] and register in one[1] and register in other[1]
    ]
    if not pairs:
        return ""
    count = sum(pairs)
    return "stays" if not count else "moves" if count == len(pairs) else f"moves in {count} of {len(pairs)}"


def _text(value: Any) -> str:
    """A value as a cell of text: text as it is, everything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def write_tables(results: Results) -> None:
    """Write the tables, each in one step; Parquet only where pyarrow is installed."""
    table = results.table()
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(map(csv_cell, results.columns))
    writer.writerows([csv_cell(_text(cells[name])) for name in results.columns] for cells in table)
    write_whole(results.directory / CSV, buffer.getvalue().encode())
    full = results.full_table()
    document = {**results.to_dict(), "table": full}
    write_whole(results.directory / JSON, json.dumps(document, indent=1).encode() + b"\n")
    data = _parquet(full, (*results.columns, *_TIMES))
    if data is not None:
        write_whole(results.directory / PARQUET, data)


def _parquet(table: list[dict[str, Any]], names: tuple[str, ...]) -> bytes | None:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        return None
    arrays = {name: arrow.array(_alike([cells[name] for cells in table])) for name in names}
    sink = arrow.BufferOutputStream()
    parquet.write_table(arrow.table(arrays), sink)
    return bytes(sink.getvalue())


def _alike(values: list[Any]) -> list[Any]:
    """The same values of one kind, as a column of Parquet needs them: mixed or nested ones become text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    if len(kinds) < 2 and kinds <= {int, float, bool, str}:
        return values
    return [None if value is None else _text(value) for value in values]
