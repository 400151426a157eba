"""What a known failure of a run is, and a boot that stands still."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property


class FailureKind(StrEnum):
    """Where a failure arose."""

    PANIC = "panic"
    FIRMWARE = "firmware"
    HOST = "host"
    BUILD = "build"
    GUEST = "guest"


@dataclass(frozen=True)
class Failure:
    """One known failure.

    pattern: of one line, without colours; its group ``says`` is the message of a panic.
    detail: it counts only in the lines behind a panic's first one.
    before: the stage that must not have begun yet; empty for any.
    weight: of two failures in one log the heavier is the cause; a cause outweighs its consequences.
    fatal: the boot cannot succeed once this line is there, although QEMU may stay.
    silent: a panic's line that no message follows.
    """

    id: str
    kind: FailureKind
    pattern: str
    sentence: str
    remedy: str
    reference: str
    weight: int = 2
    fatal: bool = False
    detail: bool = False
    before: str = ""
    silent: bool = False

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """The compiled pattern."""
        return re.compile(self.pattern)


@dataclass(frozen=True)
class Hang:
    """A boot that stands still without a word: after which stage, behind which last line."""

    id: str
    stage: str
    last: str
    sentence: str
    remedy: str
    reference: str

    def fits(self, stage: str, line: str) -> bool:
        """The boot stands in this row's stage behind this row's line."""
        return self.stage in ("", stage) and re.search(self.last, line) is not None
