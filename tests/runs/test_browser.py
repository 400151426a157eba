"""The published site in a real browser, from the disk, without a server."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from labkit import process
from labkit.runs import Run

pytestmark = pytest.mark.browser

PNG = b"\x89PNG\r\n\x1a\n"


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


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_a_page_can_be_drawn(chromium: str, site: Run, tmp_path: Path, width: int, dark: bool) -> None:
    picture = tmp_path / "page.png"
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    page = (site.directory / "site/00-first.html").as_uri()
    done = browse(chromium, tmp_path, *scheme, f"--screenshot={picture}", f"--window-size={width},900", page)
    assert done.ok
    assert picture.read_bytes().startswith(PNG)
