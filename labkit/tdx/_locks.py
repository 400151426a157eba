"""The module's locks: shared by any number of holders, or exclusive to one.

A call takes its locks and gives them back before it returns, so between calls only two kinds of holders
are left: a vCPU that runs, which keeps its TDVPR and TDR shared until its TD exit, and whoever ``hold``
plays, as if another processor were in the middle of a call.

A lock is a tuple. A page of the PAMT has three, one for each size of the walk to it: ``("PAGE", number)``,
``("PAGE_2M", number >> 9)`` and ``("PAGE_1G", number >> 18)``.
"""

from __future__ import annotations

from typing import Any

Lock = tuple[Any, ...]

_EXCLUSIVE = -1
PAGE_LOCKS = ("PAGE", "PAGE_2M", "PAGE_1G")


class Locks:
    """Which locks are held, and how: a count of shared holders, or one exclusive one."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held: dict[Lock, int] = {}

    def free(self, lock: Lock, exclusive: bool) -> bool:
        """Whether a lock could be taken now."""
        holders = self.held.get(lock, 0)
        return holders == 0 or (holders > 0 and not exclusive)

    def acquire(self, lock: Lock, exclusive: bool) -> bool:
        """Take a lock; False where somebody is in the way."""
        if not self.free(lock, exclusive):
            return False
        self.held[lock] = _EXCLUSIVE if exclusive else self.held.get(lock, 0) + 1
        return True

    def release(self, lock: Lock) -> None:
        """Give back a lock that was taken."""
        holders = self.held[lock]
        if holders > 1:
            self.held[lock] = holders - 1
        else:
            del self.held[lock]

    def page_free(self, pfn: int, level: int, exclusive: bool) -> bool:
        """Whether a PAMT walk down to an entry would find every lock on its way free."""
        for size in range(2, level, -1):
            if not self.free((PAGE_LOCKS[size], pfn >> 9 * size), exclusive=False):
                return False
        return self.free((PAGE_LOCKS[level], pfn >> 9 * level), exclusive)


def walk_locks(pfn: int) -> tuple[Lock, Lock, Lock]:
    """The locks that a walk to a 4 KiB entry takes."""
    return ("PAGE_1G", pfn >> 18), ("PAGE_2M", pfn >> 9), ("PAGE", pfn)
