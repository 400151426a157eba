"""The version of a TDX module, and whether it is old for its line."""

from __future__ import annotations

import re
from dataclasses import dataclass

# The first good release of a line: patch number and build (1.5.06.00 is build 744; canonical/tdx#348).
_FIRST_GOOD: dict[tuple[int, int], tuple[int, int]] = {(1, 5): (6, 744)}


@dataclass(frozen=True)
class ModuleVersion:
    """What a module reports of itself; None where the wording of the kernel leaves it out."""

    major: int
    minor: int
    patch: int | None = None
    build: int | None = None

    @property
    def line(self) -> str:
        """The line: 1.0, 1.5, 2.0."""
        return f"{self.major}.{self.minor}"

    @property
    def older_than(self) -> str:
        """The release of its line that it should at least be, when it is older; else empty."""
        first = _FIRST_GOOD.get((self.major, self.minor))
        if first is None:
            return ""
        patch, build = first
        old = self.patch < patch if self.patch is not None else self.build is not None and self.build < build
        return f"{self.line}.{patch:02d} (build {build})" if old else ""

    def __str__(self) -> str:
        patch = f".{self.patch:02d}" if self.patch is not None else ""
        return f"{self.line}{patch}{f' build {self.build}' if self.build is not None else ''}"


def of_match(match: re.Match[str]) -> ModuleVersion | None:
    """The version in a line of the kernel log, in whichever wording."""
    if match["major"]:
        return ModuleVersion(int(match["major"]), int(match["minor"]), None, int(match["build"]))
    build = match["number"]
    return _dotted(match["dotted"] or match["plain"] or "", int(build) if build else None)


def of_text(text: str) -> ModuleVersion | None:
    """The version in sysfs: dotted from 7.1 on, `name=value` words before."""
    words = dict(re.findall(r"(\w+)=(\w{1,18})", text))
    try:
        if "major_version" in words and "minor_version" in words:
            build = int(words["build_num"], 0) if "build_num" in words else None
            return ModuleVersion(int(words["major_version"], 0), int(words["minor_version"], 0), None, build)
    except ValueError:
        return None
    return _dotted(text, None)


def _dotted(text: str, build: int | None) -> ModuleVersion | None:
    numbers = re.match(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", text)
    if numbers is None:
        return None
    return ModuleVersion(int(numbers[1]), int(numbers[2]), int(numbers[3]) if numbers[3] else None, build)
