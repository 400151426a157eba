"""Coverage-guided fuzzing of one parser; needs ``pip install atheris``.

Example: python -m tests.fuzz quote -max_total_time=300
"""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path


def main() -> None:
    """Fuzz the parser that the first argument names; the others are libFuzzer's."""
    atheris = import_module("atheris")
    with atheris.instrument_imports(include=["labkit"]):
        targets = import_module("tests.fuzz.targets")
    target, seeds = targets.TARGETS[sys.argv[1]]
    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{sys.argv[1]}-"))
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *sys.argv[2:], str(corpus)], target)
    atheris.Fuzz()


main()
