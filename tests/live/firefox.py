"""Firefox by WebDriver BiDi (W3C): a page is opened, and expressions are evaluated in it."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websocket


class Firefox:
    """One tab."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._next = 0
        self.command("session.new", {"capabilities": {}})
        tree = self.command("browsingContext.getTree", {})
        self._context = tree["contexts"][0]["context"]

    def command(self, method: str, parameters: dict[str, Any]) -> Any:
        """Send a command and wait for its result."""
        self._next += 1
        self._socket.send(json.dumps({"id": self._next, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._next:
                assert answer["type"] == "success", answer
                return answer["result"]

    def open(self, address: str) -> None:
        """Load a page."""
        self.command(
            "browsingContext.navigate", {"context": self._context, "url": address, "wait": "complete"}
        )

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, by way of JSON; a promise is waited for."""
        wrapped = f"Promise.resolve({expression}).then((value) => JSON.stringify(value ?? null))"
        words = {"expression": wrapped, "target": {"context": self._context}, "awaitPromise": True}
        result = self.command("script.evaluate", words)
        assert result["type"] == "success", result
        return json.loads(result["result"]["value"])


@contextlib.contextmanager
def firefox(program: str) -> Iterator[Firefox]:
    """A headless Firefox with a profile of its own."""
    with tempfile.TemporaryDirectory(prefix="labkit-firefox-") as profile:
        log = Path(profile) / "log"
        words = [program, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"]
        with log.open("wb") as file:
            process = subprocess.Popen(
                words, stdout=file, stderr=file, env={"HOME": profile, "PATH": "/usr/bin:/bin"}
            )
        try:
            socket = websocket.create_connection(f"{_address(log, process)}/session", timeout=240)
            with contextlib.closing(socket):
                yield Firefox(socket)
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
