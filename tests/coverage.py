"""The coverage of each package, after ``./lab coverage``, and the floor that CI keeps."""

from __future__ import annotations

import io
import sys
from collections import defaultdict
from pathlib import Path

from coverage import Coverage

import labkit

PACKAGES = Path(labkit.__file__).parent

# Percent of lines and branches that tests reach which boot nothing; a change may not sink below. This one is
# for packages that have none of their own yet.
FLOOR = 70.0
# Two points below what was measured; what only real boots, engines or browsers reach is not among it.
FLOORS: dict[str, float] = {
    "asterinas": 88,
    "attest": 95,
    "bootlog": 92,
    "cli": 74,
    "console": 84,
    "container": 61,
    "course": 85,
    "download": 98,
    "errors": 98,
    "files": 95,
    "fleet": 93,
    "guest": 95,
    "host": 93,
    "kernel": 95,
    "lab": 49,
    "later": 98,
    "learn": 71,
    "lies": 44,
    "live": 76,
    "measure": 93,
    "platforms": 72,
    "process": 89,
    "runs": 88,
    "settings": 81,
    "show": 91,
    "studies": 83,
    "tdx": 95,
    "toolchain": 92,
    "virtio": 73,
    "vm": 93,
}


def main() -> int:
    """Print a row a package; 1 where one is below its floor."""
    coverage = Coverage()
    coverage.combine(keep=False)
    coverage.save()
    reached: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name in coverage.get_data().measured_files():
        package = Path(name).relative_to(PACKAGES).parts[0].removesuffix(".py")
        numbers = coverage._analyze(name).numbers  # the only way to counts of a single file
        covered, total = numbers.ratio_covered
        reached[package][0] += covered
        reached[package][1] += total
    status = 0
    for package, (covered, total) in sorted(reached.items()):
        percent = 100.0 * covered / total if total else 100.0
        floor = FLOORS.get(package, FLOOR)
        low = percent < floor
        status |= low
        print(f"{package:12} {percent:5.1f} %{f'  below the floor of {floor:g} %' if low else ''}")
    for package in sorted(FLOORS.keys() - reached.keys()):
        status = 1
        print(f"{package:12}   not measured: take its floor away, or look why")
    whole = coverage.report(file=io.StringIO(), show_missing=False)
    print(f"{'labkit':12} {whole:5.1f} %")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
