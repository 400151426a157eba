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
# Two points below what was measured with Python 3.11 on Debian 12 and 3.14 on testing; what only real boots,
# engines or browsers reach is not among it.
FLOORS: dict[str, float] = {
    "asterinas": 93,
    "attest": 96,
    "bootlog": 96,
    "cli": 80,
    "console": 93,
    "container": 63,
    "course": 88,
    "download": 98,
    "errors": 98,
    "files": 96,
    "fleet": 94,
    "guest": 96,
    "host": 94,
    "kernel": 96,
    "lab": 52,
    "later": 98,
    "learn": 79,
    "lies": 44,
    "live": 81,
    "measure": 96,
    "platforms": 74,
    "process": 90,
    "runs": 92,
    "settings": 81,
    "show": 94,
    "studies": 85,
    "tdx": 96,
    "toolchain": 92,
    "virtio": 73,
    "vm": 94,
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
