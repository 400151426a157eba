"""What chapters say of themselves, the pages beside them, and a run for a CI."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit.learn.copies import course_folder
from labkit.runs import Run
from labkit.runs.course_pages import described, headings, others, words
from labkit.runs.reports import junit as junit_report
from labkit.runs.reports import summary as summary_report
from labkit.show.site import Link, run_index
from labkit.show.words import everything_page, glossary_page


def cells(*sources: str) -> list[Any]:
    return [nbformat.v4.new_markdown_cell(source) for source in sources]


def test_a_chapter_says_its_question_and_its_time() -> None:
    first = "# A\n\n*Why is it so?*\n\n**Time:** 25 minutes. **You need:** nothing."
    found = described(Link("a.html", "A"), cells(first))
    assert (found.question, found.minutes) == ("Why is it so?", "25 minutes")
    assert described(Link("a.html", "A"), cells("# A")) == Link("a.html", "A")


# What a study runs for each of its rows is not a chapter.
CHAPTERS = sorted(path for path in course_folder().glob("*.ipynb") if path.stem != "registers")


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_chapter_has_what_a_course_needs(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    found = described(Link("", ""), notebook.cells)
    assert found.question.endswith("?")
    assert "minutes" in found.minutes
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for part in (
        "**You need:**",
        "**After this chapter you can**",
        "## Summary",
        "## Break it",
        "## Exercises",
        "glossary.md",
    ):
        assert part in text, part
    anchors = {anchor for anchor, _, _ in words(course_folder() / "glossary.md")}
    linked = {part.partition(")")[0] for part in text.split("glossary.md#")[1:]}
    assert linked <= anchors
    for target in {part.partition(")")[0] for part in text.split("](")[1:]}:
        if target.endswith(".ipynb"):
            assert (course_folder() / target).is_file(), target


def test_the_first_chapter_tells_the_times_of_all() -> None:
    rows = {path.stem: described(Link("", ""), nbformat.read(path, 4).cells) for path in CHAPTERS[1:]}
    text = "\n".join(cell.source for cell in nbformat.read(CHAPTERS[0], 4).cells)
    told = re.findall(r"^\| \[[^]]+\]\(([\w-]+)\.ipynb\) \| .+ \| (?:2 × )?(\d+) min \|$", text, re.MULTILINE)
    assert dict(told) == {name: re.findall(r"\d+", row.minutes)[0] for name, row in rows.items()}


def test_everything_is_on_one_page_and_escaped() -> None:
    entries = [("td", "TD", "A *trust* <domain>.")]
    page = everything_page([(Link("a.html", "A", "Why?"), headings(cells("## One <b>\n### Two")))], entries)
    for word in ("One &lt;b&gt;", "Two", "Why?", 'id="td"', "<i>trust</i> &lt;domain&gt;"):
        assert word in page
    assert "<script" not in page
    assert 'id="td"' in glossary_page(entries)


def test_the_index_names_what_was_not_run(site: Run) -> None:
    missing = others(["00-start-here"])
    assert any("(shell)" in link.text for link in missing)
    assert not any("(00-start-here)" in link.text for link in missing)
    links = [Link("a.html", "A")] * len(site.chapters)
    page = run_index(site.to_dict(), links, title="t", others=missing)
    assert "not part of this run" in page
    assert "Start here" in page


def test_a_run_for_a_ci(site: Run) -> None:
    suite = ET.fromstring(junit_report(site))
    assert int(suite.attrib["tests"]) == len(site.chapters) == len(suite.findall("testcase"))
    assert int(suite.attrib["failures"]) == len(site.failed) == len(suite.findall("testcase/failure"))
    text = summary_report(site)
    assert text.count("\n| ") == len(site.chapters) + 1
    assert "✗ failed" in text


def test_what_a_chapter_says_stays_in_its_cell(site: Run) -> None:
    failed = next(chapter for chapter in site.chapters if chapter.failure is not None)
    assert failed.failure is not None
    evil = replace(failed, failure=replace(failed.failure, evalue="a|b <script>\n# c\x1b[31m \ud800"))
    run = replace(site, chapters=(evil,))
    assert "<script>" not in summary_report(run)
    ET.fromstring(junit_report(run).encode("utf-8", "replace"))
