"""A hostile chapter: nothing in it runs, fetches, leads away or covers the stamp; seen by a real browser."""

from __future__ import annotations

import http.server
import re
import shutil
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labkit.runs import publish
from labkit.runs.record import read_record
from labkit.show.sanitize import sanitize
from tests.runs.hostile import COVERS, EVIL, SNIPPETS
from tests.runs.test_browser import browse
from tests.runs.test_received import RECORD, write

_ACTIVE = "script|style|meta|iframe|object|embed|link|base|form|input|button"
_ELEMENTS = re.compile(rf"</?(?:{_ACTIVE})\b", re.IGNORECASE)
_FETCHING = {"src", "srcset", "data", "poster", "background", "action", "formaction", "ping", "xlink:href"}


@pytest.mark.parametrize("snippet", SNIPPETS + COVERS)
def test_nothing_of_it_is_left_that_runs_fetches_or_places(snippet: str) -> None:
    clean = str(sanitize(f"<p>before</p>{snippet}"))
    assert not _ELEMENTS.search(clean)
    soup = BeautifulSoup(clean, "html.parser")
    assert soup.find("p") is not None
    for tag in soup.find_all(True):
        for name, value in tag.attrs.items():
            text = " ".join(value) if isinstance(value, list) else str(value)
            assert not name.startswith("on"), clean
            assert name not in _FETCHING, clean
            assert "url(" not in text.replace("url(#", ""), clean
            assert tag.name == "a" or "evil.example" not in text, clean
            assert not re.match(r"\s*(javascript|data|vbscript):", text, re.IGNORECASE), clean
            assert not (
                name == "style" and re.search(r"position|transform|shadow|outline|float|z-index|: *-", text)
            )
    assert "<!--" not in clean


class Listening:
    """A server that answers nothing and remembers who asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                self.send_error(404)

            do_POST = do_GET  # noqa: N815 - the name that the server calls

            def log_message(self, *words: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def evil() -> Iterator[Listening]:
    listening = Listening()
    yield listening
    listening.server.shutdown()
    listening.server.server_close()


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no chromium is installed")
    return found


def published(folder: Path, snippets: tuple[str, ...], address: str) -> str:
    """The address of the page of a chapter that holds each snippet as HTML, as SVG and as Markdown."""
    (folder / "executed").mkdir(parents=True)
    cells = []
    for snippet in snippets:
        text = snippet.replace(EVIL, address)
        kinds = {"text/html": text, "image/svg+xml": text, "text/markdown": text}
        outputs = [new_output("display_data", data={kind: data}) for kind, data in kinds.items()]
        cells += [new_markdown_cell(text), new_code_cell("1", outputs=outputs, execution_count=1)]
    nbformat.write(new_notebook(cells=cells), folder / "executed/00-first.ipynb")
    write(folder, RECORD)
    publish(read_record(folder))
    return (folder / "site/00-first.html").as_uri()


@pytest.mark.browser
def test_a_browser_asks_nobody_runs_nothing_and_goes_nowhere(
    chromium: str, evil: Listening, tmp_path: Path
) -> None:
    page = published(tmp_path / "run", SNIPPETS + COVERS, evil.address)
    shown = browse(chromium, tmp_path / "profile", "--virtual-time-budget=5000", "--dump-dom", page)
    assert shown.ok
    soup = BeautifulSoup(shown.text, "html.parser")
    assert soup.title is not None
    assert soup.title.get_text() == "EMULATED: First"
    assert "EMULATED" in soup.select_one("p.facts").get_text()  # type: ignore[union-attr]
    assert evil.asked == []


@pytest.mark.browser
def test_the_page_without_our_care_would_ask(chromium: str, evil: Listening, tmp_path: Path) -> None:
    """The test above can fail: the same browser does ask the server that it is told to."""
    path = tmp_path / "page.html"
    path.write_text(f"<img src='{evil.address}/img'>")
    assert browse(chromium, tmp_path / "profile", "--dump-dom", path.as_uri()).ok
    assert evil.asked == ["/img"]


@pytest.mark.browser
def test_the_stamp_is_never_covered(chromium: str, tmp_path: Path) -> None:
    """Bar, title and stamp are drawn to the pixel as on a page without any attack."""
    benign = ("<p>x</p>",) * len(COVERS)
    tops = []
    for name, snippets in (("good", benign), ("bad", COVERS)):
        page = published(tmp_path / name, snippets, EVIL)
        picture = tmp_path / f"{name}.png"
        words = [f"--screenshot={picture}", "--window-size=900,800", page]
        assert browse(chromium, tmp_path / f"profile-{name}", *words).ok
        tops.append(pixels(picture.read_bytes())[:90])
    assert tops[0] == tops[1]


def pixels(png: bytes) -> list[bytes]:
    """The first rows of an 8-bit PNG without interlacing (PNG specification, sections 9 and 11)."""
    width, _, depth, colour = struct.unpack_from(">IIBB", png, 16)
    assert (depth, colour in (2, 6)) == (8, True)
    size = 3 if colour == 2 else 4
    packed, at = b"", 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] == b"IDAT":
            packed += png[at + 8 : at + 8 + length]
        at += 12 + length
    data, stride = zlib.decompress(packed), width * size
    rows: list[bytes] = []
    for start in range(0, len(data), stride + 1):
        kind, row = data[start], bytearray(data[start + 1 : start + 1 + stride])
        above = rows[-1] if rows else bytes(stride)
        for place in range(stride):
            left = row[place - size] if place >= size else 0
            corner = above[place - size] if place >= size else 0
            up = above[place]
            guess = left + up - corner
            paeth = min((left, up, corner), key=lambda value: abs(guess - value))
            row[place] = (row[place] + (0, left, up, (left + up) // 2, paeth)[kind]) & 0xFF
        rows.append(bytes(row))
        if len(rows) >= 200:
            break
    return rows
