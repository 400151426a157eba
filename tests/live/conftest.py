"""A live site of the course as it is committed, served on this machine alone."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import MissingComponent
from labkit.live import make_live
from labkit.live.inputs import fetch_inputs
from labkit.runs import Run, publish
from labkit.runs.collecting import collect_host
from labkit.runs.record import Chapter
from labkit.settings import Settings
from tests.live.tabs import ChromiumTab, Tab, firefox

REPOSITORY = Path(__file__).resolve().parents[2]
CHAPTERS = tuple(
    path.stem
    for path in sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
    if json.loads(path.read_text())["metadata"].get("labkit", {}).get("browser")
)
"""The chapters that are marked as such that run in a browser, whole or in part."""


@dataclass
class Server:
    """A server of one folder, and the paths that it was asked for."""

    folder: Path
    address: str = ""
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def inputs() -> dict[str, Path]:
    """The pinned packages of the npm registry."""
    try:
        return fetch_inputs(Settings.load().cache_dir / "npm")
    except MissingComponent as error:
        pytest.skip(error.message)


@pytest.fixture(scope="session")
def live_run(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The chapters with their committed outputs, published live."""
    folder = tmp_path_factory.mktemp("live") / "run"
    folder.mkdir()
    started = "2026-01-02T03:04:05+00:00"
    chapters = []
    for name in CHAPTERS:
        source = REPOSITORY / f"notebooks/{name}.ipynb"
        shutil.copy(source, folder)
        chapter = Chapter(name, name, str(source), "0" * 64, "python3", {}, "passed", started, 1.0)
        chapters.append(replace(chapter, output=source.name))
    run = publish(Run(folder, "passed", started, started, 1.0, collect_host(), {}, None, tuple(chapters)))
    make_live(run, Settings.load())
    return run


@pytest.fixture(scope="session")
def server(live_run: Run) -> Iterator[Server]:
    """The site on a port of this machine."""
    found = Server(live_run.directory / "site")

    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map = {  # noqa: RUF012
            **http.server.SimpleHTTPRequestHandler.extensions_map,
            ".wasm": "application/wasm",
            ".mjs": "text/javascript",
        }

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            found.asked.append(self.path)
            super().do_GET()

    handler = functools.partial(Handler, directory=str(found.folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as http_server:
        found.address = f"http://127.0.0.1:{http_server.server_port}"
        thread = threading.Thread(target=http_server.serve_forever, daemon=True)
        thread.start()
        yield found
        http_server.shutdown()


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """A Chromium that Playwright drives: its event loop runs in this thread, and must not meet another."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium is installed")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield found
        found.close()


@pytest.fixture(scope="package")
def chromium_context(chromium: Any) -> Any:
    """A person's Chromium, which keeps what it loaded."""
    return chromium.new_context()


@pytest.fixture(scope="package")
def chromium_tab(chromium_context: Any) -> Tab:
    """One tab of Chromium."""
    return ChromiumTab(chromium_context.new_page())


@pytest.fixture(scope="package")
def firefox_tab() -> Iterator[Tab]:
    """One tab of Firefox."""
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        pytest.skip("no Firefox is installed")
    with firefox(program) as tab:
        yield tab


@pytest.fixture(params=["chromium", "firefox"])
def tab(request: pytest.FixtureRequest) -> Tab:
    """A tab of each browser."""
    found: Tab = request.getfixturevalue(f"{request.param}_tab")
    return found
