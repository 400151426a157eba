"""A sweep as a site like every run's, with its own first page; and as a table in a notebook."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labkit.errors import DataError
from labkit.files import plain_parts, printable, read_below, strict_json
from labkit.learn.wait import waiting
from labkit.runs import Run, publish
from labkit.runs.collecting import collect_host, collect_versions
from labkit.runs.execution import CellFailure
from labkit.runs.record import Chapter, Reported, write_record
from labkit.runs.source import NotebookSource
from labkit.settings import Settings, Trust, Ui
from labkit.show import View
from labkit.show.markup import join
from labkit.show.site import Link
from labkit.show.study import study_page
from labkit.studies._sweep import SweepOptions, sweep
from labkit.studies.folder import RECORD
from labkit.studies.results import CSV, JSON, PARQUET, Results
from labkit.studies.row import ROWS, read_entry
from labkit.studies.table import Design, SweepRow

INDEX = "site/index.html"

_RECORD_LIMIT = 128 << 20


def publish_sweep(results: Results) -> Results:
    """Make or re-make the site of a sweep below its folder, and its ``run.json``."""
    run = _run(results)
    write_record(run)
    run = publish(run)
    pages = {
        row.number: Link(f"{_name(row)}.html", str(row.number))
        for row in results.design.rows
        if row.number in results.entries
    }
    files = [name for name in (CSV, JSON, PARQUET) if (results.directory / name).exists()]
    page = study_page(
        results.to_dict(),
        results.full_table(),
        (*results.columns, "seconds"),
        pages,
        [Link(f"../{name}", name) for name in files],
        results.moves(),
        results.registers(),
    )
    (results.directory / INDEX).write_text(page, encoding="utf-8")
    return results


def read_sweep(directory: Path) -> Results:
    """The results of a sweep from its folder, which somebody may have sent: hardware is not believed.

    Raises:
        DataError: the folder's record is damaged.
    """
    directory = directory.resolve()
    try:
        record = strict_json(read_below(directory, RECORD, _RECORD_LIMIT))
        path = Path(record["path"])
        name, kernel = str(record["notebook"]), str(record.get("kernel", ""))
        source = NotebookSource(path, name, name, kernel, "", {}, 0, str(record["sha256"]))
        rows, entries = [], {}
        for line in record["rows"]:
            key, number, given = str(line["key"]), int(line["row"]), dict(line["given"])
            if len(plain_parts(key)) != 1:
                raise ValueError(f"{printable(key)} is not a key of a row")
            entry = read_entry(directory / ROWS / key)
            if entry is not None:
                entries[number] = entry
            rows.append(SweepRow(number, key, given, dict((entry or {}).get("parameters") or given)))
        columns = tuple(map(str, record["columns"]))
    except KeyError as error:
        why = f"it has no {printable(str(error.args[0]))}"
    except (TypeError, AttributeError, OverflowError):
        why = "a value in it is of another kind than labkit writes"
    except ValueError as error:
        why = str(error)
    else:
        return Results(Design(source, columns, tuple(rows)), directory, entries)
    raise DataError(f"{directory / RECORD} is damaged: {why}.", "Sweep again.")


def _name(row: SweepRow) -> str:
    return f"row-{row.number:04}"


def _run(results: Results) -> Run:
    """The sweep as the record of a run whose chapters are the rows."""
    source, now = results.design.source, datetime.now(UTC).isoformat(timespec="seconds")
    chapters = tuple(
        _chapter(results.design, row, results.entries[row.number])
        for row in results.design.rows
        if row.number in results.entries
    )
    started = [chapter.started for chapter in chapters if chapter.started]
    return Run(
        directory=results.directory,
        status="failed" if results.failed else "passed",
        started=min(started, default=now),
        finished=now,
        seconds=round(results.seconds, 3),
        host=collect_host(),
        versions={**collect_versions(), "notebook": source.sha256[:16]},
        git=None,
        chapters=chapters,
    )


def _chapter(design: Design, row: SweepRow, entry: dict[str, Any]) -> Chapter:
    trust = entry.get("trust")
    output = entry.get("output")
    return Chapter(
        name=_name(row),
        title=f"Row {row.number}: {row.label}",
        source=design.source.path.name,
        source_sha256=design.source.sha256,
        kernel=design.source.kernel,
        parameters=row.parameters,
        status=entry["status"],
        started=entry.get("started") or "",
        seconds=entry.get("seconds") or 0.0,
        cells_run=entry.get("cells_run") or 0,
        cells=entry.get("cells") or 0,
        output=f"{ROWS}/{row.key}/{output}" if output else None,
        output_sha256=entry.get("output_sha256"),
        reported=Reported(entry.get("platform"), Trust(trust) if trust else None, entry.get("accelerator")),
        failure=CellFailure(**entry["failure"]) if entry.get("failure") else None,
        left_behind=tuple(entry.get("left_behind") or ()),
    )


def sweep_live(design: Design, output: Path, options: SweepOptions) -> Results:
    """Sweep in a notebook: a table that grows, failures first, where there is a front end to show it.

    Above it stands for how long it has been running, and how many rows are done, while a person looks on.
    """
    settings, total = Settings.load(), len(design.rows)
    name = design.source.name
    with waiting(f"Running {total} rows of {name}", f"sweep, {name}, {total}", settings) as step:
        step("starting workers")
        return _sweep_shown(design, output, options, settings, step)


def _sweep_shown(
    design: Design, output: Path, options: SweepOptions, settings: Settings, step: Callable[[str], None]
) -> Results:
    shown: Any = None
    if settings.ui is not Ui.STATIC:
        with contextlib.suppress(ImportError):
            from IPython.core.interactiveshell import InteractiveShell
            from IPython.display import display

            if InteractiveShell.initialized():
                shown = display(View(join([""]), ""), display_id=True)

    due = 0.0

    def watch(results: Results) -> None:
        nonlocal due
        step(f"{results.done} of {len(design.rows)} rows, {results.eta}".rstrip(", "))
        began = time.monotonic()
        if shown is not None and began >= due:
            shown.update(results.view(f"{results.done} of {len(design.rows)} rows; {results.eta}"))
            # Of very many rows a picture takes seconds: drawing takes a tenth of the time at most.
            due = began + 10 * (time.monotonic() - began)

    results = publish_sweep(sweep(design, output, options, watch=watch))
    if shown is not None:
        shown.update(View(join([""]), ""))
    return results
