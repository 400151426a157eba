"""Tables of a sweep: failures first, and no more rows than a notebook can show."""

from __future__ import annotations

import re

from labkit.show.study import study_table


def test_a_notebook_shows_failures_first_and_says_how_many_rows_it_leaves_out() -> None:
    rows = [{"row": number, "status": "failed" if number == 700 else "passed"} for number in range(1000)]
    html = study_table(rows, ("row", "status"), most=200)
    numbers = re.findall(r"<td[^>]*>(\d+)</td>", html)
    assert numbers == ["700", *(str(number) for number in range(199))]
    assert "800 more rows stand in results.csv." in html
    assert "more rows" not in study_table(rows[:5], ("row", "status"), most=200)


def test_a_digest_is_cut_short_so_that_the_columns_beside_it_can_be_seen() -> None:
    row = {"row": 1, "status": "passed", "mrtd": "4c7206f0" + "ab" * 44, "note": "4c7206f0" + "ab" * 4}
    html = study_table([row], ("row", "status", "mrtd", "note"))
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", html)
    assert cells == ["1", "4c7206f0…", "4c7206f0abababab"], "what is no digest is whole"
