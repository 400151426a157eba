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
    """Which locks are held, and how: a count of shared holders, or one exclusive one.

    holders counts everybody who holds anything: with nobody there, no lock needs to be looked at.
    """

    __slots__ = ("_held", "_running", "holders")

    def __init__(self) -> None:
        self._held: dict[Lock, int] = {}
        # What running vCPUs share, one tuple each: entering and leaving must be quick.
        self._running: list[tuple[Lock, ...]] = []
        self.holders = 0

    def free(self, lock: Lock, exclusive: bool) -> bool:
        """Whether a lock could be taken now."""
        holders = self._held.get(lock, 0)
        if not exclusive:
            return holders >= 0
        return holders == 0 and not any(lock in locks for locks in self._running)

    def acquire(self, lock: Lock, exclusive: bool) -> bool:
        """Take a lock; False where somebody is in the way."""
        if not self.free(lock, exclusive):
            return False
        self._held[lock] = _EXCLUSIVE if exclusive else self._held.get(lock, 0) + 1
        self.holders += 1
        return True

    def release(self, lock: Lock) -> None:
        """Give back a lock that was taken."""
        self.holders -= 1
        if self._held[lock] > 1:
            self._held[lock] -= 1
        else:
            del self._held[lock]

    def share(self, locks: tuple[Lock, ...]) -> None:
        """Take the locks of a vCPU that starts to run, all of them shared and found free before."""
        self._running.append(locks)
        self.holders += 1

    def unshare(self, locks: tuple[Lock, ...]) -> None:
        """Give back what share took."""
        self._running.remove(locks)
        self.holders -= 1

    def page_free(self, pfn: int, level: int, exclusive: bool) -> bool:
        """Whether a PAMT walk down to an entry would find every lock on its way free."""
        for size in range(2, level, -1):
            if not self.free((PAGE_LOCKS[size], pfn >> 9 * size), exclusive=False):
                return False
        return self.free((PAGE_LOCKS[level], pfn >> 9 * level), exclusive)


def walk_locks(pfn: int) -> tuple[Lock, Lock, Lock]:
    """The locks that a walk to a 4 KiB entry takes."""
    return ("PAGE_1G", pfn >> 18), ("PAGE_2M", pfn >> 9), ("PAGE", pfn)
