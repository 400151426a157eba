"""A program that answers on QEMU's control connection and runs no guest.

What it is to do stands in ``orders.json`` beside it; what it was asked goes to ``asked.jsonl``, a line each.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import sys
import threading
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WRITTEN_AT = 1 << 20
USUAL: dict[str, Any] = {
    "version": [10, 0],
    "log": "",
    "says": "",
    "migrates": "completed",
    "refuses": {},
    "floods": 0,
    "gives": None,
    "dies": None,
    "ends_at": None,
    "test": "OK 0x1",
    "data": "",
}


class Qemu:
    """What QEMU is to labkit: a control connection, and ports of a guest."""

    def __init__(self, orders: dict[str, Any], ends: dict[str, socket.socket]) -> None:
        self._orders = orders
        self._ends = ends
        self._control = ends["control"]
        self._files: list[int] = []
        self._asked_after = 0
        if "test" in ends:
            threading.Thread(target=self._serve_test, args=(ends["test"],), daemon=True).start()
        self._shell = ends["shell"]
        ends["log"].sendall(orders["log"].encode())
        sys.stderr.write(orders["says"])
        sys.stderr.flush()

    def serve(self) -> None:
        """Answer until the other side goes, or says ``quit``."""
        major, minor = self._orders["version"]
        self._tell({"QMP": {"version": {"qemu": {"major": major, "minor": minor}}}})
        name = ""
        while name != "quit":
            ready, _, _ = select.select([self._control, self._shell], [], [])
            if self._shell in ready and self._shell.recv(1 << 16).decode().strip() == self._orders["ends_at"]:
                self._shell.sendall(b"Power down")
                return
            if self._control not in ready:
                continue
            data, files, _, _ = socket.recv_fds(self._control, 1 << 16, 1)
            if not data:
                return
            self._files += files
            for line in data.splitlines():
                words = json.loads(line)
                name, arguments = words["execute"], words.get("arguments", {})
                with (HERE / "asked.jsonl").open("a") as record:
                    record.write(f"{json.dumps([name, arguments])}\n")
                self._answer(name, arguments)

    def _serve_test(self, end: socket.socket) -> None:
        """QEMU's test protocol, in which all that is read is the same, but for what ``b64read`` gives."""
        for line in end.makefile("rb"):
            words = f"OK {self._orders['data']}" if line.startswith(b"b64read") else self._orders["test"]
            end.sendall(f"{words}\n".encode())

    def _answer(self, name: str, arguments: dict[str, Any]) -> None:
        if name in self._orders["refuses"]:
            self._tell({"error": {"desc": self._orders["refuses"][name]}})
            return
        self._tell({"event": "RTC_CHANGE"})
        self._shell.sendall(bytes(self._orders["floods"]))
        self._tell({"return": self._do(name, arguments)})
        if name in ("migrate", "migrate-incoming"):
            for status in ("setup", "active", self._orders["migrates"]):
                self._tell({"event": "MIGRATION", "data": {"status": status}})

    def _do(self, name: str, arguments: dict[str, Any]) -> object:
        match name:
            case "migrate":
                os.write(self._files[-1], b"devices")
            case "query-status":
                self._asked_after += 1
                return {"status": "finish-migrate" if self._asked_after < 3 else "postmigrate"}
            case "query-cpus-fast":
                return [{"qom-path": "/cpu"}]
            case "qom-get":
                return 40
            case "add-fd":
                return {"fdset-id": 7}
            case "pmemsave":
                size = arguments["size"] if self._orders["gives"] is None else self._orders["gives"]
                Path(arguments["filename"]).write_bytes(b"m" * size)
        return {}

    def _tell(self, words: object) -> None:
        self._control.sendall(f"{json.dumps(words)}\n".encode())


def main() -> None:
    """Serve on the descriptors that the command line names."""
    if "--version" in sys.argv:
        sys.stdout.write("QEMU emulator version 10.0.0")
        return
    orders = {**USUAL, **json.loads((HERE / "orders.json").read_text())}
    if orders["dies"] is not None:
        sys.exit(orders["dies"])
    backend = re.search(r"size=(\d+)M,mem-path=([^,]+)", " ".join(sys.argv))
    if backend:
        with Path(backend[2]).open("r+b") as memory:
            memory.truncate(int(backend[1]) << 20)
            memory.seek(WRITTEN_AT)
            memory.write(b"written")
    words = (re.fullmatch(r"socket,id=(\w+),fd=(\d+)", word) for word in sys.argv)
    Qemu(orders, {found[1]: socket.socket(fileno=int(found[2])) for found in words if found}).serve()


if __name__ == "__main__":
    main()
