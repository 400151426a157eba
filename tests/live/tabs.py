"""A tab of a real browser: a page is opened, and expressions are evaluated in it.

Chromium is driven by Playwright, which cannot drive Debian's Firefox; that one speaks WebDriver BiDi (W3C).
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import websocket


class Tab(Protocol):
    """What the tests need of a browser."""

    def open(self, address: str) -> None:
        """Load a page."""

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, as JSON; a promise is waited for."""

    def asked(self) -> set[str]:
        """The addresses that were asked for since the page was opened, without their paths."""


class ChromiumTab:
    """A tab of Chromium."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self._asked: set[str] = set()
        page.on("request", lambda request: self._asked.update(_origin(request.url)))

    def open(self, address: str) -> None:
        self._asked.clear()
        self._page.goto(address)

    def evaluate(self, expression: str) -> Any:
        return self._page.evaluate(expression)

    def asked(self) -> set[str]:
        return {*self._asked}


class FirefoxTab:
    """A tab of Firefox."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._next = socket, 0
        self._asked: set[str] = set()
        self._command("session.new", {"capabilities": {}})
        self._context = self._command("browsingContext.getTree", {})["contexts"][0]["context"]
        events = {"events": ["network.beforeRequestSent"], "contexts": [self._context]}
        self._command("session.subscribe", events)

    def _command(self, method: str, parameters: dict[str, Any]) -> Any:
        self._next += 1
        self._socket.send(json.dumps({"id": self._next, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("type") == "event":
                self._asked.update(_origin(answer["params"]["request"]["url"]))
            elif answer.get("id") == self._next:
                assert answer["type"] == "success", answer
                return answer["result"]

    def open(self, address: str) -> None:
        self._asked.clear()
        self._command(
            "browsingContext.navigate", {"context": self._context, "url": address, "wait": "complete"}
        )

    def evaluate(self, expression: str) -> Any:
        whole = f"Promise.resolve({expression}).then((value) => JSON.stringify(value ?? null))"
        words = {"expression": whole, "target": {"context": self._context}, "awaitPromise": True}
        result = self._command("script.evaluate", words)
        assert result["type"] == "success", result
        return json.loads(result["result"]["value"])

    def asked(self) -> set[str]:
        return {*self._asked}


def _origin(address: str) -> list[str]:
    """Whom a request goes to; nobody, where the address holds the data itself."""
    return [] if address.startswith(("data:", "blob:")) else ["/".join(address.split("/")[:3])]


@contextlib.contextmanager
def firefox(program: str) -> Iterator[FirefoxTab]:
    """A headless Firefox with a profile of its own."""
    with tempfile.TemporaryDirectory(prefix="labkit-firefox-") as profile:
        log = Path(profile) / "log"
        words = [program, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"]
        with log.open("wb") as file:
            process = subprocess.Popen(
                words, stdout=file, stderr=file, env={"HOME": profile, "PATH": "/usr/bin:/bin"}
            )
        try:
            # Firefox refuses a client that names an origin, as a page would.
            socket = websocket.create_connection(
                f"{_address(log, process)}/session", timeout=240, suppress_origin=True
            )
            with contextlib.closing(socket):
                yield FirefoxTab(socket)
        finally:
            process.terminate()
            process.wait(30)


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", log.read_text("utf-8", "replace")):
            return found[1]
        time.sleep(0.1)
    raise AssertionError(f"Firefox did not start: {log.read_text('utf-8', 'replace')[-1000:]}")
