"""The lies by name, and the record of what was asked, what the honest answer was, and what was told.

These are the lies whose effects on Linux and Asterinas are known; there are no others here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class LieName(StrEnum):
    """What a device can say that is not true. ``ArmedLie.value`` is a number that some of them need."""

    LENGTH = "length"
    ID_OUT_OF_RANGE = "id-out-of-range"
    ID_NOT_OFFERED = "id-not-offered"
    ID_TWICE = "id-twice"
    STATUS = "status"
    CAPACITY = "capacity"
    FALSE_DATA = "false-data"
    SECOND_READ = "second-read"
    LATE_WRITE = "late-write"


MEANINGS = {
    LieName.LENGTH: "the answer says that `value` bytes were written",
    LieName.ID_OUT_OF_RANGE: "the answer is for a request of which the queue has no number",
    LieName.ID_NOT_OFFERED: "the answer is for a request that was not made",
    LieName.ID_TWICE: "the same request is answered twice",
    LieName.STATUS: "the status byte is `value`, which no specification knows",
    LieName.CAPACITY: "the disk says that it has `value` sectors",
    LieName.FALSE_DATA: "well-formed data that is not what is on the disk",
    LieName.SECOND_READ: "the second read of the same sectors brings other data",
    LieName.LATE_WRITE: "the buffer is written again, when the next request comes",
}

DEFAULT_VALUES = {LieName.LENGTH: 65536, LieName.STATUS: 0xEE, LieName.CAPACITY: 8}

FORGED = b"FORGED"
"""What false data begin with."""


@dataclass(frozen=True)
class ArmedLie:
    """One lie, told once. from_sector: reads of a disk below it are answered honestly.

    Firmware, the scan for partitions and Asterinas' own mount read the first sectors.
    """

    name: LieName
    value: int = 0
    from_sector: int = 64


@dataclass(frozen=True)
class Reply:
    """An answer: the ids and lengths put into the queue, and for disks the status.

    data: ``honest`` or ``forged``, in a word.
    """

    ids: tuple[int, ...]
    length: int
    status: int | None = None
    data: str = "honest"

    def __str__(self) -> str:
        words = [f"id {', '.join(map(str, self.ids))}", f"length {self.length}"]
        if self.status is not None:
            words.append(f"status {self.status:#04x}")
        if self.data != "honest":
            words.append(f"{self.data} data")
        return ", ".join(words)


@dataclass(frozen=True)
class Exchange:
    """What a guest asked, what the honest answer would have been, what was told; ``lie``: by which lie."""

    asked: str
    honest: str
    told: str
    lie: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The exchange as JSON types."""
        return asdict(self)
