"""Classes of outcome, boot after boot: what each guest makes of each lie, and whether it is always the same.

    .venv/bin/python benchmarks/lies.py linux linux-6.1.176 --runs 20 [--record]

Runs are kept in ``results/lies-GUEST.jsonl``, so that a series can go on later. ``--record`` writes what
chapter 06 shows where a kernel cannot be had; it refuses a series whose runs differ.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

from _report import RESULTS

from labkit.lies.findings import Findings, LieFinding, record_of
from labkit.lies.meeting import GUESTS, meet
from labkit.settings import Settings

_RECORD = Path(__file__).parents[1] / "labkit/lies/recorded.json"


def runs_of(guest: str) -> list[Findings]:
    """The runs that are kept."""
    kept = RESULTS / f"lies-{guest}.jsonl"
    lines = kept.read_text().splitlines() if kept.exists() else []
    return [
        Findings(row["guest"], tuple(LieFinding(**found) for found in row["findings"]), row["origin"])
        for row in map(json.loads, lines)
    ]


def add_run(guest: str) -> None:
    """Boot once more, and keep what was found."""
    found = meet(guest, Settings.load(), fresh=True)
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"lies-{guest}.jsonl").open("a") as file:
        file.write(json.dumps(found.to_dict()) + "\n")


def main() -> int:
    """Run the series; 1 where an outcome differs from run to run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("guests", nargs="+", choices=GUESTS)
    parser.add_argument("--runs", type=int, default=20, help="boots in all, with those that are kept")
    parser.add_argument("--record", action="store_true")
    asked = parser.parse_args()
    differs = False
    for guest in asked.guests:
        while len(runs_of(guest)) < asked.runs:
            add_run(guest)
        runs = runs_of(guest)
        print(f"{GUESTS[guest]}: {len(runs)} boots")
        outcomes = Counter((found.device, found.lie, found.outcome) for run in runs for found in run.findings)
        for (device, lie, outcome), count in outcomes.items():
            print(f"  {count:3} of {len(runs)}  {device}, {lie}: {outcome}")
            differs |= count != len(runs)
        if asked.record:
            document = json.loads(_RECORD.read_text())
            document[guest] = record_of(GUESTS[guest], runs, time.strftime("%Y-%m-%d"))
            _RECORD.write_text(json.dumps(document, indent=2) + "\n")
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
