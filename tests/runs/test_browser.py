"""The published site in a real browser, from the disk, without a server."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from labkit import process
from labkit.runs import Run
from tests.jupyterlab import chromium_page, picture

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no chromium is installed")
    return found


def browse(chromium: str, profile: Path, *words: str) -> process.Completed:
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        # Nothing is asked of the network, which may not be there.
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={profile}",
    ]
    return process.run([chromium, *options, *words], timeout=120)


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("index.html", ["2 of 5 chapters passed", "EMULATED", "✗ failed", "labkit run run"]),
        ("00-first.html", ["world 3 notebooks static", "All chapters", "<svg", "trust domain"]),
    ],
)
def test_a_browser_shows_what_the_site_holds(
    chromium: str, site: Run, tmp_path: Path, page: str, words: list[str]
) -> None:
    dom = browse(chromium, tmp_path, "--dump-dom", (site.directory / "site" / page).as_uri())
    assert dom.ok
    for word in words:
        assert word in dom.text, word


CUT_OFF = """() => [document.documentElement, ...document.querySelectorAll("main *")].filter(
    (it) => it.scrollWidth > it.clientWidth + 1 && it.clientWidth > 0
        && (getComputedStyle(it).overflowX !== "visible" || it === document.documentElement)
).map((it) => `${it.tagName} ${it.scrollWidth} > ${it.clientWidth}: ${it.textContent.slice(0, 60)}`)"""
"""What cannot be seen whole: with bars that scroll on a screen, not at all on paper."""

OFF_PAPER = """() => [...document.querySelectorAll("main *")].filter(
    (it) => it.getBoundingClientRect().right > document.documentElement.clientWidth + 1
).map((it) => `${it.tagName}: ${it.textContent.slice(0, 60)}`)"""
"""What stands beyond the right edge, where a cell lets nothing out."""


def test_a_page_fits_a_screen_a_phone_and_paper(site: Run) -> None:
    with chromium_page() as page:
        for name in ("index.html", "00-first.html"):
            page.goto((site.directory / "site" / name).as_uri())
            for width, scheme in itertools.product((1280, 390), ("light", "dark")):
                page.set_viewport_size({"width": width, "height": 900})
                page.emulate_media(media="screen", color_scheme=scheme)
                wide = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
                assert page.evaluate(wide) <= 0, (name, width)
                picture(page, f"{name}-{width}-{scheme}")
            page.emulate_media(media="print")
            # The width of A4 without margins, in CSS pixels.
            page.set_viewport_size({"width": 718, "height": 1000})
            assert page.evaluate(CUT_OFF) == [], name
            assert page.evaluate(OFF_PAPER) == [], name


def test_the_pages_are_searched_from_the_disk(site: Run) -> None:
    with chromium_page() as page:
        page.goto((site.directory / "site/everything.html").as_uri())
        found = page.locator(".part:visible h3 a")
        everything = found.count()
        page.get_by_label("Words to look for").fill("domain TRUST")
        assert 0 < found.count() < everything
        assert page.locator("mark").first.inner_text().lower() in ("domain", "trust")
        found.first.click()
        page.wait_for_url(lambda address: "everything" not in address)
        assert "trust domain" in page.locator("main").inner_text().lower()
        page.go_back()
        assert page.get_by_label("Words to look for").input_value() == "domain TRUST"
        page.get_by_label("Words to look for").fill("no such word anywhere")
        assert "Nothing found." in page.locator("main").inner_text()
