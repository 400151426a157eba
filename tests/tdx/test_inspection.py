"""What the model shows of itself: the map of its pages."""

from __future__ import annotations

from itertools import pairwise

from labkit.tdx import pamt_map
from tests.tdx.worlds import World


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
