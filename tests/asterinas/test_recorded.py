"""What was recorded of a real Asterinas never passes for something that ran here."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.asterinas import KernelCache
from labkit.asterinas.recorded import recorded_asterinas
from labkit.errors import UsageError
from labkit.settings import Settings

TOPICS = ("boot", "times", "memory", "inside", "ends", "measured", "boundary")


@pytest.mark.parametrize("topic", TOPICS)
def test_every_form_of_a_recorded_fact_carries_the_stamp_and_its_source(topic: str) -> None:
    recorded = recorded_asterinas(topic)
    assert recorded.to_dict()["stamp"] == "RECORDED"
    for form in (str(recorded), recorded._repr_html_()):
        assert "RECORDED, not run here" in form
        assert "Asterinas 0.18" in form
        assert "2026" in form
    assert recorded[recorded.rows[0][0]] == recorded.rows[0][1]


def test_an_unknown_topic_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="inside"):
        recorded_asterinas("colour")


def test_a_guest_that_is_not_here_says_what_brings_it(tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path, state_dir=tmp_path)
    missing = KernelCache(settings).guest("asterinas")
    assert not missing
    assert "`labkit asterinas fetch` gets one." in str(missing)
    assert KernelCache(settings).guest("linux")
    for name in ("plan9", "linux:6.1"):
        with pytest.raises(UsageError, match=f"no guest '{name}'"):
            KernelCache(settings).guest(name)
