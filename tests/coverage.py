"""The coverage of each package, after ``./lab coverage``, and the floor that CI keeps."""

from __future__ import annotations

import io
import sys
from collections import defaultdict

from coverage import Coverage

# Percent of lines and branches that tests reach which boot nothing; a change may not sink below.
FLOOR = 70.0
# What only real boots, engines or browsers reach.
FLOORS: dict[str, float] = {}


def main() -> int:
    """Print a row a package; 1 where one is below its floor."""
    coverage = Coverage()
    coverage.combine(keep=False)
    coverage.save()
    reached: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name in coverage.get_data().measured_files():
        parts = name.partition("/labkit/")[2].split("/")
        package = parts[0].removesuffix(".py")
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
    whole = coverage.report(file=io.StringIO(), show_missing=False)
    print(f"{'labkit':12} {whole:5.1f} %")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
