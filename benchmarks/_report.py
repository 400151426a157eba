"""What every benchmark does with its numbers: one table on standard output, one JSON file."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from labkit.show import columns

RESULTS = Path(__file__).parent / "results"


Clock = Callable[[], float]


def seconds(action: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """The duration of one call."""
    start = clock()
    action()
    return clock() - start


def paired(
    ours: Callable[[], object], peer: Callable[[], object], rounds: int, clock: Clock = time.perf_counter
) -> list[tuple[float, float]]:
    """Time both in turn, so that whatever slows the machine for a while slows both.

    clock: ``time.process_time`` for what computes in this process alone, since neighbours do not count then.
    """
    return [(seconds(ours, clock), seconds(peer, clock)) for _ in range(rounds)]


def middle(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Median of ours, median of the peer (seconds), and the median of the ratios of the pairs."""
    return (
        median(ours for ours, _ in pairs),
        median(peer for _, peer in pairs),
        median(ours / peer for ours, peer in pairs),
    )


def report(name: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print the rows as a table and write them, with the machine they are from, to ``results/NAME.json``."""
    head = list(rows[0])
    cells = [[f"{row[key]:.3f}" if isinstance(row[key], float) else row[key] for key in head] for row in rows]
    print(columns([head, *cells]))
    machine = {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}
    RESULTS.mkdir(exist_ok=True)
    document = {"benchmark": name, "machine": machine, "rows": list(rows)}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")
