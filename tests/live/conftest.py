"""A live site of two chapters, served on this machine alone."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from labkit.errors import MissingComponent
from labkit.live import fetch_inputs, make_live
from labkit.runs import Run, plan_run, publish, run_plan
from labkit.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
CHAPTERS = ("05-inside-tdx", "06-why-asterinas")


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
    """Two executed chapters, published live."""
    folder = tmp_path_factory.mktemp("live") / "run"
    notebooks = [str(REPOSITORY / f"notebooks/{name}.ipynb") for name in CHAPTERS]
    run = run_plan(plan_run(notebooks, output=folder))
    assert run.status == "passed"
    run = publish(run)
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


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no chromium is installed")
    return found
