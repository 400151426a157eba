from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from bs4 import BeautifulSoup, Tag

from labkit.runs import Run, publish
from labkit.runs.execution import CellFailure
from labkit.runs.record import Chapter, Reported, read_record
from labkit.runs.site import chapter_body, make_inert
from labkit.settings import Trust
from labkit.show.site import Link, chapter_page, run_index

FETCHING = {"src", "srcset", "data", "poster", "background", "action", "xlink:href"}


def pages(run: Run) -> dict[str, str]:
    return {path.name: path.read_text() for path in (run.directory / "site").glob("*.html")}


def references(markup: str) -> list[str]:
    """Everything in a page that a browser would fetch by itself."""
    found = re.findall(r"(?:@import|url\()\s*['\"]?([^'\")\s]+)", markup)
    for tag in BeautifulSoup(markup, "html.parser").find_all(True):
        names = FETCHING if tag.name == "a" else {*FETCHING, "href"}
        found += [str(value) for name, value in tag.attrs.items() if name in names]
    return [word for word in found if not word.startswith("data:")]


def test_the_check_for_references_sees_them() -> None:
    bad = (
        '<script src="https://cdn/x.js"></script><link href="http://x/y.css"><img src="//x/z.png">'
        "<style>@import 'https://f'; p {background: url(https://g)}</style>"
    )
    assert references(bad) == ["https://f", "https://g", "https://cdn/x.js", "http://x/y.css", "//x/z.png"]


def test_no_page_fetches_anything_or_has_a_script_but_the_search(site: Run) -> None:
    assert sorted(pages(site)) == [
        "00-first.html",
        "01-fails.html",
        "02-hangs.html",
        "03-dies.html",
        "04-expects.html",
        "everything.html",
        "glossary.html",
        "index.html",
    ]
    for name, markup in pages(site).items():
        assert references(markup) == [], name
        assert markup.count("<script") == (name == "everything.html"), name
        assert "default-src 'none'" in markup, name
        assert ("script-src" in markup) == (name == "everything.html"), name


def test_every_link_leads_somewhere(site: Run) -> None:
    folder = site.directory / "site"
    for name, markup in pages(site).items():
        for link in BeautifulSoup(markup, "html.parser").select("a[href]"):
            file, _, anchor = str(link["href"]).partition("#")
            target = folder / (file or name)
            assert target.is_file(), f"{name}: {link['href']}"
            if anchor:
                assert BeautifulSoup(target.read_text(), "html.parser").find(id=anchor), f"{name}: {link}"


def test_the_index_says_what_ran_where_with_which_trust(site: Run) -> None:
    soup = BeautifulSoup(pages(site)["index.html"], "html.parser")
    text = soup.get_text(" ", strip=True)
    assert soup.title is not None
    assert soup.title.get_text().startswith("EMULATED: labkit run ")
    for words in (
        "2 of 5 chapters passed",
        "emulated, tcg",
        "No TDX hardware took part",
        site.started,
        site.host["os"],
        site.versions["papermill"],
        "swtpm 0.7",
        "who = 'world', count = 3",
    ):
        assert words in text, words


def test_a_failed_cell_is_marked_and_linked_from_the_index(site: Run) -> None:
    soup = BeautifulSoup(pages(site)["index.html"], "html.parser")
    note = soup.select_one("li.failed .note a")
    assert note is not None
    assert note["href"] == "01-fails.html#cell-id=cell-4"
    chapter = BeautifulSoup(pages(site)["01-fails.html"], "html.parser")
    marked = chapter.select(".celltag_labkit-failed")
    assert [cell["id"] for cell in marked] == ["cell-id=cell-4"]
    assert "<b>bold</b>" in marked[0].get_text(), "the error's text is shown as text"


def test_pages_are_linked_in_order_and_to_each_other(site: Run) -> None:
    soup = BeautifulSoup(pages(site)["01-fails.html"], "html.parser")

    def where(selector: str) -> str:
        tag = soup.select_one(selector)
        assert isinstance(tag, Tag), selector
        return str(tag["href"])

    assert where("nav.top .previous a") == "00-first.html"
    assert where("nav.top .next a") == "02-hangs.html"
    assert where("nav.top .home") == "index.html"
    assert '<a href="01-fails.html">the chapter that fails</a>' in pages(site)["00-first.html"]


def test_the_notebook_of_an_emulated_chapter_says_so_in_its_name(site: Run) -> None:
    names = sorted(path.name for path in (site.directory / "site/notebooks").iterdir())
    assert names[:2] == ["00-first.EMULATED.ipynb", "01-fails.ipynb"]


def test_publishing_again_gives_the_same_site(site: Run) -> None:
    before = pages(site)
    stale = site.directory / "site/stale.html"
    stale.write_text("old")
    assert publish(read_record(site.directory)) == site
    assert pages(site) == before
    assert json.loads((site.directory / "site/run.json").read_text())["site"] == "site/index.html"


HOSTILE = [
    "<script>alert(1)</script>",
    '<script src="https://x/y.js"></script>',
    '<img src="https://x/y.png" alt="a picture">',
    '<img src="x.png">',
    '<b onclick="x()">text</b>',
    '<iframe src="https://x"></iframe>',
    '<link rel="stylesheet" href="https://x">',
    '<meta http-equiv="refresh" content="0;url=https://x">',
    "<style>@import url(https://x);</style>",
    '<p style="background: url( https://x )">text</p>',
    '<svg><image href="https://x"/><use xlink:href="https://x#a"/></svg>',
    '<a href="javascript:alert(1)">link</a>',
    '<a href="../../etc/passwd">link</a>',
    '<form action="https://x"><input></form>',
    '<video src="https://x"></video>',
    '<object data="https://x"><embed src="https://x"></object>',
    '<div><script>1</script><iframe src="x"><p>inner</p></iframe></div>',
]


@pytest.mark.parametrize("markup", HOSTILE)
def test_what_runs_or_fetches_is_taken_out(markup: str) -> None:
    inert = make_inert(f"<p>before</p>{markup}<p>after</p>", {})
    assert references(inert) == []
    assert not re.search(r"<script|<iframe|javascript:|onclick|<form|<a ", inert)
    assert inert.startswith("<p>before</p>")
    assert inert.endswith("<p>after</p>")


def test_what_was_taken_out_is_named() -> None:
    inert = BeautifulSoup(make_inert('<script>1</script><img src="http://x" alt="A map">', {}), "html.parser")
    assert [tag.get_text() for tag in inert.select(".left-out")] == [
        "[left out: script]",
        "[left out: image: A map]",
    ]


def test_harmless_markup_stays_as_it_is() -> None:
    markup = (
        '<a href="https://example.org/spec">spec</a><a href="#x">x</a>'
        '<img alt="" src="data:image/png;base64,AA">'
        '<svg><rect fill="url(#g)" height="1"></rect><use href="#r"></use></svg><p style="color: red">x</p>'
    )
    assert make_inert(markup, {}) == markup


def test_links_between_notebooks_lead_to_pages() -> None:
    known = {"01-b": "01-b.html"}
    assert make_inert('<a href="01-b.ipynb#part">b</a>', known) == '<a href="01-b.html#part">b</a>'
    assert make_inert('<a href="./01-b.ipynb">b</a><a href="02-c.ipynb">c</a>', known) == (
        '<a href="01-b.html">b</a>c'
    )


def chapter(**changes: object) -> Chapter:
    base = Chapter(
        name="a",
        title="A <b>",
        source="a.ipynb",
        source_sha256="0",
        kernel="python3",
        parameters={},
        status="passed",
        started="2026-01-02T03:04:05+00:00",
        seconds=1.0,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_widgets_and_scripts_in_outputs_fall_back_to_what_can_be_shown(tmp_path: Path) -> None:
    output = {
        "output_type": "display_data",
        "metadata": {},
        "data": {
            "application/vnd.jupyter.widget-view+json": {"model_id": "1"},
            "application/javascript": "alert(1)",
            "text/plain": "the fallback",
        },
    }
    cell = {
        "id": "a",
        "cell_type": "code",
        "metadata": {},
        "source": "x",
        "outputs": [output],
        "execution_count": 1,
    }
    widgets = {"application/vnd.jupyter.widget-state+json": {"state": {}, "version_major": 2}}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"widgets": widgets}, "cells": [cell]}
    (tmp_path / "a.ipynb").write_text(json.dumps(notebook))
    body = chapter_body(tmp_path, chapter(output="a.ipynb"), {})
    assert "the fallback" in body
    assert "<script" not in body
    assert "left out" not in body


def test_a_chapter_without_a_notebook_still_has_a_page() -> None:
    failed = chapter(
        status="failed", failure=CellFailure(None, None, "", "ProcessEnded", "its <process> ended")
    )
    page = chapter_page(failed.to_dict(), chapter_body(Path("/nowhere"), failed, {}))
    assert "ProcessEnded: its &lt;process&gt; ended" in page
    assert "A &lt;b&gt;" in page


@pytest.mark.parametrize(
    ("trusts", "words", "stamped"),
    [
        ([Trust.NONE], "No TDX hardware took part", True),
        ([Trust.HARDWARE], "reports TDX hardware", False),
        ([Trust.HARDWARE, Trust.NONE, None], "Not every chapter ran on TDX hardware", True),
        ([None], "No chapter reported its platform", False),
    ],
)
def test_the_trust_of_a_run_is_stated_and_never_guessed(
    tmp_path: Path, trusts: list[Trust | None], words: str, stamped: bool
) -> None:
    run = Run(
        directory=tmp_path,
        status="passed",
        started="2026-01-02T03:04:05+00:00",
        finished=None,
        seconds=1.0,
        host={"os": "Debian", "kernel": "6", "processor": "x", "cpus": 1, "memory_mib": 1},
        versions={},
        git=None,
        chapters=tuple(chapter(reported=Reported("p", trust, None)) for trust in trusts),
    )
    page = run_index(run.to_dict(), [Link("a.html", "A")] * len(trusts), title="t")
    assert words in page
    assert ("EMULATED" in page) is stamped


def test_trust_is_only_as_high_as_the_lowest() -> None:
    merged = Reported.merge(
        [Reported("hardware", Trust.HARDWARE, None), Reported("emulated", Trust.NONE, "tcg"), Reported()]
    )
    assert merged == Reported("hardware, emulated", Trust.NONE, "tcg")


def test_what_is_no_word_of_a_language_is_not_marked_as_wrong(site: Run) -> None:
    """Pygments calls the text behind a magic an error, and some of its styles draw a red box around it."""
    coloured = {name for page in pages(site).values() for name in re.findall(r"\.highlight \.(\w+) ", page)}
    assert "k" in coloured
    assert "err" not in coloured
