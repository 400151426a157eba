"""Changed evidence: single bytes, cut and grown ends, moved and doubled pieces, wrong lengths."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

_LENGTHS = (632, 766, 1218, 1254)


def mutations(good: bytes, count: int, seed: int) -> Iterator[bytes]:
    """``count`` variants of ``good``, each different from it."""
    rng = random.Random(seed)
    made = 0
    while made < count:
        data = _mutate(good, rng)
        if data != good:
            made += 1
            yield data


def _mutate(good: bytes, rng: random.Random) -> bytes:
    data = bytearray(good)
    kind = rng.randrange(10)
    at = rng.randrange(len(good))
    if kind <= 4:
        data[at] ^= rng.randrange(1, 256)
    elif kind == 5:
        del data[at:]
    elif kind == 6:
        data += rng.randbytes(rng.randrange(1, 64))
    elif kind == 7:
        size = rng.randrange(1, 64)
        del data[at : at + size]
    elif kind == 8:
        other = rng.randrange(len(good))
        size = rng.choice((1, 2, 16, 48, 64))
        data[at : at + size] = good[other : other + size]
    else:
        # A length field of a quote; in a shorter structure, any word.
        offset = rng.choice(_LENGTHS) if len(good) > 2048 else max(0, at - 4)
        struct.pack_into("<I", data, offset, rng.choice((0, 1, 0xFFFFFFFF, rng.randrange(1 << 16))))
    return bytes(data)
