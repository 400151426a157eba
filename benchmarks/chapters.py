"""The guided chapters side by side, and one after the other: the whole command, its site included.

LABKIT_BENCH_PEER may name the ``labkit`` of another checkout, which runs the chapters of that one instead.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from _report import report

from labkit.process import run

HERE = Path(__file__).parent.parent
LABKIT = HERE / ".venv/bin/labkit"
PEER = Path(os.environ.get("LABKIT_BENCH_PEER", LABKIT))
LIMIT = 1.0
ROUNDS = int(os.environ.get("LABKIT_BENCH_ROUNDS", "1"))


def chapters(labkit: Path, checkout: Path, *words: str) -> float:
    """Seconds that the whole command takes."""
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = run([labkit, "run", "--output", f"{folder}/run", *words], timeout=3600, cwd=checkout)
        assert done.ok, done.stderr.decode()
        return time.perf_counter() - start


def main() -> int:
    """Measure both; 1 where they are not faster side by side."""
    rows = []
    for _ in range(ROUNDS):
        ours = chapters(LABKIT, HERE)
        peer = chapters(PEER, PEER.parents[2], *(("-j", "1") if PEER == LABKIT else ()))
        rows.append({"side by side (s)": ours, "peer (s)": peer, "ratio": ours / peer, "limit": LIMIT})
    report("chapters", rows)
    return 0 if sorted(row["ratio"] for row in rows)[len(rows) // 2] <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
