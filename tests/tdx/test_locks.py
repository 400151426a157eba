"""Locks of the model, shared and exclusive, and what a page of the PAMT looks like in runs."""

from __future__ import annotations

from itertools import pairwise

from labkit.tdx import pamt_map
from labkit.tdx._locks import Locks
from tests.tdx.worlds import World


def test_a_lock_that_two_share_is_free_when_both_have_given_it_back() -> None:
    locks, lock = Locks(), ("PAGE", 7)
    assert locks.acquire(lock, exclusive=False)
    assert locks.acquire(lock, exclusive=False)
    assert not locks.acquire(lock, exclusive=True)
    locks.release(lock)
    assert not locks.free(lock, exclusive=True)
    assert locks.free(lock, exclusive=False)
    locks.release(lock)
    assert locks.holders == 0
    assert locks.acquire(lock, exclusive=True)
    assert not locks.free(lock, exclusive=False)


def test_neighbours_of_one_type_and_owner_are_one_row_of_the_pamts_map() -> None:
    world = World()
    rows = pamt_map(world.platform)
    assert {row["owner"] for row in rows} == {0, world.tdr}
    assert any(row["pages"] >= 512 for row in rows)
    assert any(1 < row["pages"] < 512 for row in rows)
    for one, two in pairwise(rows):
        end = one["start"] + 4096 * one["pages"]
        assert end <= two["start"]
        assert end < two["start"] or (one["type"], one["owner"]) != (two["type"], two["owner"])
