from __future__ import annotations

from pathlib import Path

import pytest

from labkit.asterinas.versions import PROFILES
from labkit.bootlog.failures import FAILURES, HANGS, Failure, Hang

PAGE = Path(__file__).resolve().parents[2] / "docs/asterinas.md"


@pytest.mark.parametrize("row", [*FAILURES, *HANGS], ids=lambda row: row.id)
def test_the_page_has_every_failure_as_the_table_says_it(row: Failure | Hang) -> None:
    line = f"| `{row.id}` | {row.sentence} | {row.remedy} | {row.reference} |"
    assert line in PAGE.read_text().splitlines(), f"docs/asterinas.md needs this row: {line}"


def test_every_profile_that_the_page_names_is_there() -> None:
    page = PAGE.read_text()
    for name in ("0.9.0-tdx", "0.9.0", "0.16.0-tdx", "0.18.1-tdx", "0.18.1"):
        assert f"`{name}`" in page
        assert name in PROFILES
