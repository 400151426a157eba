"""A JupyterLab and a page of a real browser, for the tests that look at what a person sees."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

OPEN = ["--no-browser", "--port=0", "--ip=127.0.0.1", "--IdentityProvider.token=", "--ServerApp.password="]
"""What makes a server of the test's own: no browser, any port, no question who is there."""

PICTURES = os.environ.get("LABKIT_PICTURES")
"""Where screenshots are kept; without it they are made and thrown away."""


@contextmanager
def served(words: Sequence[str], environment: Mapping[str, str], folder: Path) -> Iterator[str]:
    """The address of the server that ``words`` start; it ends with the block."""
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(words, env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        yield _address(server, Path(environment["JUPYTER_RUNTIME_DIR"]), folder / "log")
    finally:
        # It ends its kernels first, also one that is only starting.
        server.terminate()
        server.wait(120)


def _address(server: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        # It is there before it is written.
        with contextlib.suppress(OSError, ValueError):
            return str(json.loads((runtime / f"jpserver-{server.pid}.json").read_text())["url"])
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start: {log.read_text()[-2000:]}")


@contextmanager
def chromium_page(width: int = 1280, height: int = 860) -> Iterator[Any]:
    """A page of Debian's chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def picture(page: Any, name: str, part: str = "") -> None:
    """A screenshot, kept where ``LABKIT_PICTURES`` says."""
    what = page.locator(part).first if part else page
    what.screenshot(path=str(Path(PICTURES) / f"{name}.png") if PICTURES else None)
