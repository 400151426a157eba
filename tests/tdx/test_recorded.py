"""The model answers as Intel's own module code does: every call of the recording, status and registers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.tdx.recorded import Player, document

SEQUENCES: list[dict[str, Any]] = document()["sequences"]
CHECKS = 8_900


def _played(sequence: dict[str, Any]) -> Player:
    player = Player(sequence["config"])
    player.play(document()["prefixes"][sequence["prefix"]], check=False)
    player.play(sequence["ops"], check=True)
    return player


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: s["name"].replace(" ", "-"))
def test_sequence(sequence: dict[str, Any]) -> None:
    player = _played(sequence)
    assert player.differences == []
    assert player.checks == sum(
        step.get("repeat", 1)
        for step in sequence["ops"]
        if step["op"] not in ("write", "pending_interrupt", "fail_next")
    )


def test_nothing_of_the_recording_is_left_out() -> None:
    kinds: Counter[str] = Counter()
    for sequence in SEQUENCES:
        for step in sequence["ops"]:
            kinds[step["op"]] += step.get("repeat", 1)
    unchecked = kinds["write"] + kinds["pending_interrupt"] + kinds["fail_next"]
    assert kinds.total() - unchecked == CHECKS


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"status": "0xc000010000000002"}, "recorded 0xc000010000000002"),
        ({"out": {"r9": "0x5"}}, "r9"),
        ({"kind": "EXIT"}, "recorded EXIT"),
    ],
)
def test_the_comparison_sees_a_difference(change: dict[str, Any], difference: str) -> None:
    """A recording that says something else is not taken for an agreement."""
    step = {"op": "seamcall", "lp": 0, "rax": "0x2c", "in": {"rcx": "0x1"}, "status": "0x0"}
    player = Player({})
    assert player.do(step) == []
    wrong = player.do(step | change)
    assert wrong is not None
    assert difference in wrong[0]
