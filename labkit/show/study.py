"""The page of a sweep: what each row came to, how long it took, what failed, which registers moved."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from labkit.show._text import one_line
from labkit.show.colours import BAD, GOOD
from labkit.show.markup import Markup, details, element, join, table
from labkit.show.site import Link, badge_of, document, link_to, status_word
from labkit.show.svg import picture

_SHADES = ("#ddf4ff", "#fbefff", "#dafbe1", "#fff8c5", "#ffeff7", "#eaeef2")
_MOST_BARS = 200
_CELL = 60
_HEX = re.compile(r"[0-9a-f]{64,}")
_DIGEST = 8
"""As much of a digest as tells it from another."""


def study_page(
    study: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    pages: Mapping[int, Link],
    downloads: Iterable[Link],
    moves: Mapping[str, Mapping[str, str]],
    registers: Sequence[Mapping[str, str]],
) -> Markup:
    """The first page of a sweep.

    study: its summary, as `labkit sweep --json` prints it. rows: the table, with ``seconds``. pages: the
    page of each row's executed notebook, by its number. moves: for each parameter, which registers move
    with it, and how surely. registers: those of each row, by name.
    """
    title = f"Sweep of {study['notebook']}"
    mark = f"{study['stamp']}: " if study.get("stamp") else ""
    summary = f"{study['passed']} of {study['rows']} rows passed"
    return document(
        f"{mark}{title}",
        element(
            "main",
            element("h1", title, " ", badge_of(study)),
            element(
                "p",
                element("span", summary, class_=f"status {'failed' if study['failed'] else 'passed'}"),
                element("span", f"{study['seconds']:.1f} s"),
                class_="facts",
            ),
            failure_bars(study["failures"]) if study["failures"] else "",
            element("h2", "Time of each row"),
            time_bars(rows),
            *_registers(moves, registers, rows),
            element("h2", "Rows"),
            study_table(rows, columns, pages),
            element("h2", "Files"),
            element("ul", *(element("li", link_to(link)) for link in downloads)),
        ),
    )


def study_table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    pages: Mapping[int, Link] | None = None,
    most: int | None = None,
) -> Markup:
    """The rows of a sweep, failures first; a column that is empty in every row is left out.

    most: how many rows are shown; how many there are besides is said.
    """
    shown = [
        name for name in columns if name != "key" and any(row.get(name) not in (None, "") for row in rows)
    ]
    ordered = sorted(rows, key=lambda row: (row["status"] != "failed", row["row"]))
    body = [[_cell(row, name, pages or {}) for name in shown] for row in ordered[:most]]
    more = len(ordered) - len(body)
    note = element("small", f"{more} more rows stand in results.csv.") if more else ""
    return join([element("div", table(body, shown), style="overflow-x:auto"), note])


def _cell(row: Mapping[str, Any], name: str, pages: Mapping[int, Link]) -> object:
    value = row.get(name)
    if name == "row" and row["row"] in pages:
        return link_to(pages[row["row"]])
    if name == "status":
        return element("span", status_word(str(value)), style="white-space:nowrap")
    if isinstance(value, float):
        return f"{value:.6g}"
    words = "" if value is None else str(value)
    return f"{words[:_DIGEST]}…" if _HEX.fullmatch(words) else one_line(words, _CELL)


def failure_bars(reasons: Mapping[str, int]) -> Markup:
    """How many rows failed for which reason."""
    most = max(reasons.values(), default=1)
    parts = []
    for number, (reason, count) in enumerate(reasons.items()):
        y, width = 26 * number, 300 * count / most
        parts += [
            element("text", one_line(reason, 28), x=212, y=y + 17, text_anchor="end", fill="currentColor"),
            element("rect", x=220, y=y + 4, width=f"{width:.1f}", height=18, rx=3, fill=BAD),
            element("text", str(count), x=f"{226 + width:.1f}", y=y + 17, fill="currentColor"),
        ]
    label = "Failures: " + ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    return join([element("h2", "Failures by reason"), picture(580, 26 * len(reasons), label, *parts)])


def time_bars(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """A bar for each row that ended: its seconds; where there are very many, the slowest of each handful."""
    timed = [(row["row"], float(row["seconds"]), row["status"]) for row in rows if row.get("seconds")]
    if not timed:
        return element("p", "No row was timed.")
    size = -(-len(timed) // _MOST_BARS)
    groups = [timed[start : start + size] for start in range(0, len(timed), size)]
    most, step = max(seconds for _, seconds, _ in timed), max(3.0, min(24.0, 640 / len(groups)))
    parts = [
        element("text", f"{most:.1f} s", x=44, y=14, text_anchor="end", fill="currentColor"),
        element("text", "0", x=44, y=126, text_anchor="end", fill="currentColor"),
        element("line", x1=48, x2=52 + step * len(groups), y1=126, y2=126, stroke="currentColor"),
    ]
    for place, group in enumerate(groups):
        number, seconds, status = max(group, key=lambda entry: entry[1])
        height = max(1.0, 116 * seconds / most)
        parts.append(
            element(
                "rect",
                element("title", f"row {number}: {status}, {seconds:.2f} s"),
                x=f"{50 + step * place:.1f}",
                y=f"{126 - height:.1f}",
                width=f"{max(2.0, step - 2):.1f}",
                height=f"{height:.1f}",
                fill=BAD if status == "failed" else GOOD,
            )
        )
    parts.append(element("text", f"row {timed[0][0]} … {timed[-1][0]}", x=50, y=144, fill="currentColor"))
    middle = sorted(seconds for _, seconds, _ in timed)[len(timed) // 2]
    label = f"Seconds of {len(timed)} rows: the median is {middle:.2f}, the most {most:.2f}."
    picture_ = picture(60 + step * len(groups), 150, label, *parts)
    return join([element("p", label, " A failed row is red."), picture_])


def move_table(moves: Mapping[str, Mapping[str, str]]) -> Markup:
    """Which register moves when one parameter alone changes."""
    names = list(dict.fromkeys(name for row in moves.values() for name in row))
    return table(
        [[parameter, *(found.get(name, "") for name in names)] for parameter, found in moves.items()],
        ["parameter", *names],
    )


def _registers(
    moves: Mapping[str, Mapping[str, str]],
    registers: Sequence[Mapping[str, str]],
    rows: Sequence[Mapping[str, Any]],
) -> list[Markup]:
    if not any(registers):
        return []
    names = sorted({name for row in registers for name in row})
    letters: dict[str, dict[str, int]] = {name: {} for name in names}
    body = []
    for row, values in zip(rows, registers, strict=True):
        cells: list[object] = [row["row"]]
        for name in names:
            value = values.get(name)
            number = letters[name].setdefault(value, len(letters[name])) if value else None
            cells.append("" if number is None else _shade(number, value or ""))
        body.append(cells)
    counts = [f"{name}: {len(letters[name])} different values" for name in names]
    return [
        element("h2", "Registers that moved"),
        element("p", "; ".join(counts), "."),
        *([move_table(moves)] if moves else []),
        details("Row by row: the same number in a column is the same value", table(body, ["row", *names])),
    ]


def _shade(number: int, value: str) -> Markup:
    style = f"background:{_SHADES[number % len(_SHADES)]};color:#1f2328;padding:.1em .5em;border-radius:.3em"
    return element("span", number + 1, title=value, style=style)
