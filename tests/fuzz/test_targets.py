from __future__ import annotations

import random

import pytest

from tests.attest.mutations import mutations
from tests.fuzz.targets import TARGETS

COUNT = 300


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_their_neighbours_are_read_or_refused(name: str) -> None:
    target, seeds = TARGETS[name]
    for seed in seeds:
        target(seed)
        for data in mutations(seed, COUNT, seed=len(seed)):
            target(data)


@pytest.mark.parametrize("name", TARGETS)
def test_noise_is_read_or_refused(name: str) -> None:
    target, _ = TARGETS[name]
    rng = random.Random(7)
    for size in range(0, 3000, 37):
        target(rng.randbytes(size))
