"""Serves the devices of one machine, in a process that its owner starts beside QEMU.

One line of JSON is a command of the owner, and one the answer. The end of that connection is the end of the
process, whatever became of the owner.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
from collections.abc import Callable, Sequence
from typing import Any

from labkit.virtio._backend import Backend
from labkit.virtio.devices import LARGEST_DISK, DiskModel, EntropyModel, Model
from labkit.virtio.lies import ArmedLie, LieName
from labkit.virtio.wire import WireError

_LARGEST_COMMAND = 1 << 16


def arguments(
    name: str, control: int, connections: Sequence[int], contents: Sequence[int | None]
) -> list[str]:
    """The process's command line.

    A name, for those who look at processes; the owner's descriptor; for each device QEMU's, and that of a
    disk's contents.
    """
    devices = (
        f"entropy:{qemu}" if content is None else f"disk:{qemu}:{content}"
        for qemu, content in zip(connections, contents, strict=True)
    )
    return [name, str(control), *devices]


def main(argv: Sequence[str]) -> None:
    """Serve until the owner is gone."""
    owner = socket.socket(fileno=int(argv[1]))
    _Server(owner, [_backend(word) for word in argv[2:]]).run()


def _backend(word: str) -> Backend:
    kind, qemu, *content = word.split(":")
    model: Model = EntropyModel() if kind == "entropy" else DiskModel(_contents(int(content[0])))
    return Backend(model, socket.socket(fileno=int(qemu)))


def _contents(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        file.seek(0)
        return file.read(LARGEST_DISK)


class _Server:
    """Waits for the owner, for QEMU and for the guest's requests at once."""

    def __init__(self, owner: socket.socket, backends: Sequence[Backend]) -> None:
        self._owner = owner
        self._backends = backends
        self._heard = b""
        self._selector = selectors.DefaultSelector()
        self._kicks: dict[int, int] = {}
        self._alive = True
        self._selector.register(owner, selectors.EVENT_READ, self._command)
        for number, backend in enumerate(backends):
            self._selector.register(backend.connection, selectors.EVENT_READ, self._listener(number))

    def run(self) -> None:
        while self._alive:
            for key, _ in self._selector.select():
                key.data()

    def _listener(self, number: int) -> Callable[[], None]:
        def listen() -> None:
            backend = self._backends[number]
            self._unwatch(number)
            try:
                goes_on = backend.listen()
            except (WireError, OSError) as error:
                backend.broken = str(error)
                goes_on = False
            if goes_on:
                self._watch(number)
            else:
                self._selector.unregister(backend.connection)
                backend.close()

        return listen

    def _watch(self, number: int) -> None:
        """A message can bring another kick descriptor, or take it away."""
        backend = self._backends[number]
        if backend.kick is not None:
            self._kicks[number] = backend.kick
            self._selector.register(backend.kick, selectors.EVENT_READ, backend.kicked)

    def _unwatch(self, number: int) -> None:
        if (kick := self._kicks.pop(number, None)) is not None:
            self._selector.unregister(kick)

    def _command(self) -> None:
        try:
            self._heard += (part := self._owner.recv(_LARGEST_COMMAND))
        except OSError:
            part = b""
        if not part:
            self._alive = False
            return
        *lines, self._heard = self._heard.split(b"\n")
        for line in lines:
            with contextlib.suppress(OSError):
                self._owner.sendall(json.dumps(self._answer(json.loads(line))).encode() + b"\n")

    def _answer(self, command: dict[str, Any]) -> dict[str, Any]:
        backend = self._backends[command["device"]]
        if "lie" in command:
            asked = command["lie"]
            backend.arm(ArmedLie(LieName(asked["name"]), asked["value"], asked["from_sector"]))
            return {}
        served = backend.model.served if isinstance(backend.model, EntropyModel) else b""
        return {
            "exchanges": [exchange.to_dict() for exchange in backend.record],
            "broken": backend.broken,
            "served": bytes(served).hex(),
            "pid": os.getpid(),
        }
