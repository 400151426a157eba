"""The lying host, the trusting driver and the checking one."""

from __future__ import annotations

import pytest

from labkit.tdx import iago


@pytest.mark.parametrize("driver", [iago.trusting, iago.checking])
def test_an_honest_host_serves_both(driver: iago.Driver) -> None:
    outcome = iago.meet(driver, iago.HONEST)
    assert outcome.taken
    assert not outcome.corrupted
    assert outcome.buffer.startswith(b"sensor = 20 C")


def test_a_long_answer_overwrites_what_follows_the_buffer() -> None:
    outcome = iago.meet(iago.trusting, iago.LONG)
    assert outcome.taken
    assert outcome.corrupted
    assert outcome.is_admin == 1
    assert outcome.key == iago.SECRET_KEY


def test_a_wild_index_replaces_the_key() -> None:
    outcome = iago.meet(iago.trusting, iago.WILD)
    assert outcome.corrupted
    assert outcome.key.startswith(b"host key")
    assert "CORRUPTED" in str(outcome)


@pytest.mark.parametrize("answer", [iago.LONG, iago.WILD])
def test_checks_contain_both(answer: iago.Answer) -> None:
    outcome = iago.meet(iago.checking, answer)
    assert not outcome.taken
    assert not outcome.corrupted
    assert "refused" in outcome.says


def test_a_wrong_but_well_formed_answer_passes_every_check() -> None:
    outcome = iago.meet(iago.checking, iago.PLAUSIBLE)
    assert outcome.taken
    assert not outcome.corrupted
    assert b"99 C" in outcome.buffer
    assert outcome.to_dict()["corrupted"] is False
