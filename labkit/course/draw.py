"""A stream of draws that follows from a secret seed and labels alone, equal on every Python.

``random.Random`` promises that only for ``random()``; a variant must not change when Python does.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_WORDS = """
amber acorn alder anvil apple aspen badger basil beacon birch bramble bronze cedar chalk cherry
cinder clover cobalt copper coral cotton crane cypress daisy dune ember falcon fennel fern flint
forest garnet ginger glacier grove harbor hazel heron indigo iris ivory jasper juniper kestrel
lagoon larch laurel lemon lichen linen lotus maple marble meadow mint moss nettle oak olive onyx
opal orchid otter pebble pepper pine plum poplar quartz raven reed river robin rowan saffron sage
sand shell silver slate sorrel sparrow spruce sumac swift tansy teal thistle thyme topaz tulip
velvet violet walnut willow wren yarrow zinc zephyr
""".split()  # noqa: SIM905


class Draw:
    """Draws from HMAC-SHA512 in counter mode; the same seed and labels give the same draws."""

    def __init__(self, seed: bytes, *labels: str) -> None:
        # JSON keeps ("ab", "c") and ("a", "bc") apart.
        self._key = hmac.new(seed, json.dumps(labels).encode(), hashlib.sha512).digest()
        self._counter = 0
        self._pool = b""

    def child(self, label: str) -> Draw:
        """A stream of its own: draws from it leave this one as it is."""
        return Draw(self._key, label)

    def bytes(self, count: int) -> bytes:
        """That many bytes."""
        while len(self._pool) < count:
            block = self._counter.to_bytes(8, "big")
            self._pool += hmac.new(self._key, block, hashlib.sha512).digest()
            self._counter += 1
        taken, self._pool = self._pool[:count], self._pool[count:]
        return taken

    def below(self, bound: int) -> int:
        """A number from 0 to ``bound`` - 1, all equally likely."""
        size = (bound.bit_length() + 7) // 8
        limit = (1 << 8 * size) // bound * bound
        while True:
            value = int.from_bytes(self.bytes(size), "big")
            if value < limit:
                return value % bound

    def between(self, first: int, last: int) -> int:
        """A number from ``first`` to ``last``, both included."""
        return first + self.below(last - first + 1)

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """That many different items, in an order of their own."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(count)]

    def shuffle(self, items: Sequence[T]) -> list[T]:
        """All items in a new order."""
        return self.sample(items, len(items))

    def word(self) -> str:
        """A word that can be said on the telephone, such as ``heron-4821``."""
        return f"{self.choice(_WORDS)}-{self.between(1000, 9999)}"
