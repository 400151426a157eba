"""What ``./lab`` and the command line add, once everything is set up, to the programs that they start."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from _report import middle, paired, report

from labkit.process import run

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 9


def main() -> None:
    """Time each command beside its peer."""
    commands: dict[str, tuple[list[str], list[str]]] = {
        "./lab test --version | pytest --version": (
            [str(ROOT / "lab"), "test", "--version"],
            [sys.executable, "-m", "pytest", "--version"],
        ),
        "labkit setup --check | python -c 'import click'": (
            [sys.executable, "-m", "labkit", "setup", "--check"],
            [sys.executable, "-c", "import click"],
        ),
    }
    rows = []
    for name, (ours, peer) in commands.items():
        mine, theirs, ratio = middle(paired(partial(run, ours), partial(run, peer), ROUNDS))
        rows.append({"command | peer": name, "seconds": mine, "peer": theirs, "ratio": ratio})
    report("startup", rows)


if __name__ == "__main__":
    main()
