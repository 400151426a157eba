"""The comparison in the documentation names every check, and the exercises are what the chapter says."""

from __future__ import annotations

import re
from pathlib import Path

from labkit.host import CHECKS, diagnose, load

ROOT = Path(__file__).resolve().parents[2]


def test_the_comparison_has_a_row_for_every_check() -> None:
    text = (ROOT / "docs" / "host-verification.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)`(?: \([^|]*\))? (\|.*)$", text, re.MULTILINE)
    assert [name for name, _ in rows] == [check.id for check in CHECKS], (
        "the table of checks in docs/host-verification.md has each check, in the order of CHECKS"
    )
    assert all(len(re.findall(r"\| ([●○–]) ", cells)) == 7 for _, cells in rows)


def test_the_five_hosts_of_the_exercise_differ_and_say_that_they_are_made_up() -> None:
    paths = sorted((ROOT / "notebooks" / "exercises").glob("host-*.json"))
    reports = [diagnose(load(path)) for path in paths]
    assert len(reports) == 5
    assert len({(report.verdict, report.reason) for report in reports}) == 5
    assert {report.verdict for report in reports} == {"READY", "NOT_READY", "INDETERMINATE"}
    assert all(report.facts.emulated for report in reports)
