"""What chapters say of themselves, the pages beside them, and a run for a CI."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest

from labkit.learn.copies import course_folder
from labkit.runs import Run
from labkit.runs.course_pages import described, others, words
from labkit.runs.record import Chapter, Reported
from labkit.runs.reports import junit as junit_report
from labkit.runs.reports import summary as summary_report
from labkit.runs.site import chapter_body
from labkit.settings import Trust
from labkit.show.site import Link, chapter_page, run_index
from labkit.show.words import PageSection, everything_page, glossary_page, sections


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
    assert dict(told) == {name: re.findall(r"\d+", row.minutes)[0] for name, row in rows.items()}, (
        "the last table of chapter 00 has each chapter with the minutes of its own **Time:**"
    )


def body(folder: Path, *sources: Any) -> str:
    notebook = nbformat.v4.new_notebook(cells=list(sources))
    nbformat.write(notebook, folder / "a.ipynb")
    chapter = Chapter("a", "A", "a.ipynb", "0", "python3", {}, "passed", "", 1.0, output="a.ipynb")
    return chapter_body(folder, chapter, {})


def test_the_sections_of_a_page_are_its_prose_and_code(tmp_path: Path) -> None:
    ran = nbformat.v4.new_code_cell(
        "lab.boot()  # <b>", outputs=[nbformat.v4.new_output("stream", text="printed")]
    )
    found = sections(body(tmp_path, *cells("# A\n\nFirst.", "## One `<b>` & two\n\nProse *here*."), ran))
    assert [(part.heading, part.text) for part in found] == [
        ("A", "First."),
        ("One <b> & two", "Prose here. lab.boot() # <b>"),
    ]
    page = body(tmp_path, *cells("# A", "## One `<b>` & two"))
    assert all(f'id="{html.escape(part.anchor)}"' in page for part in found)


def test_what_can_be_searched_is_escaped_and_no_script_but_ours_may_run() -> None:
    entries = [("td", "TD", "A *trust* <domain>.")]
    part = PageSection("One", "One <b>", "</p><script>alert(1)</script>")
    page = everything_page([(Link("a.html", "A", "Why?"), [part])], entries, "glossary.html")
    for word in (
        "A › One &lt;b&gt;",
        'href="a.html#One"',
        'href="glossary.html#td"',
        "A trust &lt;domain&gt;",
    ):
        assert word in page
    ours = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(ours[0].encode()).digest()).decode()
    assert len(ours) == 1
    assert f"script-src &#x27;sha256-{digest}&#x27;" in page or f"script-src 'sha256-{digest}'" in page
    assert 'id="td"' in glossary_page(entries)


def test_a_long_page_lists_its_headings(site: Run) -> None:
    links = [Link(f"#{name}", f"{name} <b>") for name in "abc"]
    page = chapter_page(site.chapters[0].to_dict(), "", contents=links)
    assert '<a href="#b">b &lt;b&gt;</a>' in page
    assert "On this page" not in chapter_page(site.chapters[0].to_dict(), "", contents=links[:2])


def test_the_index_names_what_was_not_run(site: Run) -> None:
    missing = others(["00-start-here"])
    assert any("(shell)" in link.text for link in missing)
    assert not any("(00-start-here)" in link.text for link in missing)
    links = [Link("a.html", "A")] * len(site.chapters)
    page = run_index(site.to_dict(), links, title="t", others=missing)
    assert "not part of this run" in page
    assert 'Begin with <b><a href="a.html">A</a></b>' in page


def test_a_run_for_a_ci(site: Run) -> None:
    suite = ET.fromstring(junit_report(site))
    assert int(suite.attrib["tests"]) == len(site.chapters) == len(suite.findall("testcase"))
    assert int(suite.attrib["failures"]) == len(site.failed) == len(suite.findall("testcase/failure"))
    text = summary_report(site)
    assert text.count("\n| ") == len(site.chapters) + 1
    rows = {row.split(" | ")[0]: row for row in text.splitlines()}
    assert "✓ passed" in rows["| 00-first"]
    assert rows["| 00-first"].endswith(" |  |"), "what passed has no reason"
    assert "✗ failed" in rows["| 03-dies"]
    assert "The kernel ended" in rows["| 03-dies"]


def test_what_a_ci_shows_carries_the_stamp(site: Run) -> None:
    told = tuple(replace(part, reported=Reported("emulated", Trust.NONE, "tcg")) for part in site.chapters)
    silent = tuple(replace(part, reported=Reported()) for part in site.chapters)
    for chapters, stamped in ((told, True), (silent, False)):
        run = replace(site, chapters=chapters)
        assert ("[EMULATED]" in summary_report(run)) is stamped
        found = {
            item.attrib["name"]: item.attrib["value"]
            for item in ET.fromstring(junit_report(run)).findall("properties/property")
        }
        assert found == ({"trust": "none", "stamp": "EMULATED"} if stamped else {})


def test_what_a_chapter_says_stays_in_its_cell(site: Run) -> None:
    failed = next(chapter for chapter in site.chapters if chapter.failure is not None)
    assert failed.failure is not None
    evil = replace(failed, failure=replace(failed.failure, evalue="a|b <script>\n# c\x1b[31m \ud800"))
    run = replace(site, chapters=(evil,))
    text = summary_report(run)
    assert "<script>" not in text
    assert "script" in text
    ET.fromstring(junit_report(run).encode("utf-8", "replace"))
