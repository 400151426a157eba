"""Findings: from a guest's answers to classes of outcome, and a record that never passes for a boot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from labkit.errors import MissingComponent, UsageError
from labkit.lies.findings import Findings, LieFinding, record_of, recorded
from labkit.lies.meeting import GUESTS, meet, meet_each
from labkit.settings import Settings

ARCHIVED = ("linux-6.1.176", "linux-6.1.192")


@pytest.fixture
def bare(tmp_path: Path) -> Settings:
    """A machine on which nothing can boot."""
    return Settings(cache_dir=tmp_path / "cache", state_dir=tmp_path / "state")


@pytest.mark.parametrize("guest", ARCHIVED)
def test_where_nothing_can_boot_the_record_is_shown_as_one(guest: str, bare: Settings) -> None:
    found = meet(guest, bare)
    assert "These findings are RECORDED, " in str(found)
    assert "RECORDED" in found._repr_html_()
    assert "[EMULATED]" in str(found)
    with pytest.raises(MissingComponent):
        meet(guest, bare, fresh=True)


def test_several_guests_side_by_side_are_in_the_order_that_was_asked_for(bare: Settings) -> None:
    found = meet_each(ARCHIVED[::-1], bare)
    assert [one.guest for one in found] == [GUESTS[name] for name in ARCHIVED[::-1]]
    with pytest.raises(MissingComponent):
        meet_each((ARCHIVED[0], "asterinas"), bare)


def test_what_was_never_recorded_is_missing(bare: Settings) -> None:
    with pytest.raises(MissingComponent):
        meet("asterinas", bare)
    with pytest.raises(UsageError):
        meet("windows", bare)


def test_the_records_differ_in_the_entropy_device_alone() -> None:
    before, after = (recorded(guest, "a test") for guest in ARCHIVED)
    assert before is not None
    assert after is not None
    assert before.of("disk").findings == after.of("disk").findings
    assert "a pointer among them equals a symbol: True" in before.outcome("entropy", "length 65536")
    assert after.outcome("entropy", "length 65536").startswith("clamped: 0 of 64,000 bytes")


def test_a_series_whose_runs_differ_is_no_record() -> None:
    run = Findings(GUESTS["linux"], (LieFinding("disk", "length", "accepted"),), "of a boot just now")
    assert record_of("Linux", [run, run], "2026-01-02")["runs"] == 2
    with pytest.raises(ValueError, match="differ"):
        record_of("Linux", [run, replace(run, findings=())], "2026-01-02")
