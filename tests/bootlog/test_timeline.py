from __future__ import annotations

import itertools
import pickle

from hypothesis import given
from hypothesis import strategies as st

from labkit.bootlog import GuestType
from labkit.bootlog.timeline import Mark, Stage, StageTracker, Timeline
from labkit.guest import LINUX

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
