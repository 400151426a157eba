from __future__ import annotations

import itertools
import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.bootlog.timeline import GuestType, Mark, Sign, Stage, StageTracker, Timeline
from labkit.guest.types import LINUX

LOG = (
    "\x1b[2J\x1b[01;01HBdsDxe: loading Boot0000\r\n"
    "EFI stub: Loaded initrd from LINUX_EFI_INITRD_MEDIA_GUID device path\r\n"
    "EFI stub: Measured initrd data into PCR 9\r\n"
    "[    0.000000] Linux version 6.1.0 (x@y) #1 SMP\r\n"
    "[    1.900000] Run /init as init process\r\n"
    "labkit: init\r\n"
    "labkit: shell\r\n"
)


def feed(pieces: list[str], profile: GuestType = LINUX) -> StageTracker:
    tracker = StageTracker(profile)
    for second, piece in enumerate(pieces):
        tracker.feed("serial", piece.encode(), float(second))
    return tracker


def test_the_stages_of_a_boot() -> None:
    tracker = feed([line + "\n" for line in LOG.split("\n")])
    timeline = tracker.timeline(10.0)
    assert [stage.name for stage in timeline.stages] == ["firmware", "efi-stub", "kernel", "init", "shell"]
    assert [stage.seconds for stage in timeline.stages] == [1.0, 2.0, 2.0, 1.0, 4.0]
    assert timeline.seconds == 10.0
    assert tracker.expected is None


@given(st.lists(st.integers(0, len(LOG)), max_size=12))
def test_where_the_log_is_cut_does_not_matter(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(LOG)]
    tracker = feed([LOG[a:b] for a, b in itertools.pairwise(places)])
    names = [stage.name for stage in tracker.timeline(99.0).stages]
    assert names == ["firmware", "efi-stub", "kernel", "init", "shell"]
    assert tracker.failure is None


def test_a_panic_is_a_failure_and_is_quoted_whole() -> None:
    tracker = feed(
        ["[    0.000000] Linux version 6.1\n", "[ 1.0] Kernel panic - not sync", "ing: no init found\r\n"]
    )
    assert tracker.stage == "kernel"
    assert tracker.failure == "no init found"


def test_a_mark_in_the_middle_of_a_line_is_no_mark() -> None:
    tracker = feed(["[    1.0] Kernel command line: x='labkit: init'\n"])
    assert tracker.stage == "firmware"


def test_a_skipped_stage_does_not_hold_up_the_next() -> None:
    profile = GuestType("g", "a", (Mark("b", "^b$", 1), Mark("c", "^c$", 1)), ())
    assert [stage.name for stage in feed(["c\n"], profile).timeline(5.0).stages] == ["a", "c"]


def test_a_line_without_end_takes_bounded_memory() -> None:
    tracker = feed(["x" * 100_000] * 20)
    assert len(pickle.dumps(tracker)) < 20_000


def test_the_picture_holds_the_numbers_as_text_and_escapes_names() -> None:
    profile = GuestType("g", "<script>", (), ())
    picture = feed([], profile).timeline(1.25)._repr_html_()
    assert "<script>" not in picture
    assert "1.25 s" in picture


def test_times_are_given_to_the_millisecond() -> None:
    rows = Timeline((Stage("firmware", 0.0, 1.23456), Stage("kernel", 1.23456, 2.0))).to_list()
    assert rows == [{"name": "firmware", "seconds": 1.235}, {"name": "kernel", "seconds": 2.0}]


TWO = GuestType("g", "a", (Mark("b", "^b$", 10.0), Mark("c", "^c$", 20.0)), ("^(dead: .*)$", "^oops (.*)$"))


@pytest.mark.parametrize("patience", [1.0, 3.0])
def test_a_stage_may_last_as_long_as_its_mark_says_and_no_longer(patience: float) -> None:
    tracker = StageTracker(replace(TWO, patience=patience))
    assert tracker.due(0.0) == 10.0 * patience
    assert tracker.complaint(10.0 * patience - 0.01, False, None) is None
    said = tracker.complaint(10.0 * patience, False, None)
    assert said is not None
    assert said[0] == (
        f"Stage a did not end within {10 * patience:g} s: stage b was waited for, a line like '^b$'; "
        "the last line was '(nothing)'."
    )
    assert "LABKIT_PATIENCE=3" in said[1]
    tracker.feed("serial", b"b\n", 4.0)
    # The next deadline counts from the stage's own beginning.
    assert (tracker.began, tracker.due(5.0)) == (4.0, 20.0 * patience - 1.0)
    tracker.feed("serial", b"c\nx\n", 6.0)
    assert (tracker.reached, tracker.expected, tracker.due(9.0)) == (True, None, 0.0)
    assert tracker.complaint(1e9, False, None) is None


def test_the_end_of_a_machine_and_a_line_of_failure_are_told_at_once() -> None:
    tracker = StageTracker(TWO)
    tracker.feed("serial", b"  word\x1b[2J \r\n\n", 1.0)
    ended = tracker.complaint(2.0, True, 1)
    assert ended is not None
    assert ended[0] == "QEMU ended in stage a; the last line was 'word'."
    tracker.feed("console", b"oops one\noops two\ndead: three\n", 2.0)
    for is_over in (True, False):
        failed = tracker.complaint(1e9, is_over, None)
        assert failed is not None
        assert failed[0] == "The guest failed in stage a: one."
        assert "console.log" in failed[1]


def test_of_several_signs_in_a_line_the_first_counts() -> None:
    causes = Sign("^cause: (.*)$", "Mend it."), Sign("^(cause.*)$", "Do nothing.")
    both = replace(TWO, failures=("^dead: (.*)$", "^(dead.*)$"), causes=causes)
    tracker = StageTracker(both)
    tracker.feed("serial", b"cause: one\ncause: two\ndead: three\n", 1.0)
    assert tracker.complaint(1.0, False, None) == (
        "The guest failed in stage a: three. Before that: one.",
        "Mend it.",
    )


def test_streams_do_not_mix_and_a_stage_may_begin_without_a_line() -> None:
    tracker = StageTracker(TWO)
    tracker.feed("serial", b"b", 1.0)
    tracker.feed("console", b"oo", 2.0)
    tracker.feed("serial", b"ps no\n", 3.0)
    assert (tracker.stage, tracker.failure) == ("b", None)
    tracker.begin("restore", 4.0)
    assert (tracker.stage, tracker.reached, tracker.began) == ("restore", True, 4.0)
    assert [stage.seconds for stage in tracker.timeline(6.0).stages] == [1.0, 3.0, 2.0]
    resumed = TWO.resumed()
    assert (resumed.stage, resumed.reached, resumed.failure) == ("restore", True, None)
    resumed.feed("serial", b"dead: x\n", 1.0)
    assert resumed.failure == "dead: x"
    assert TWO.watch().stage == "a"
