"""The owner's end of a device: tell it to lie, and read its record."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from labkit.errors import UsageError, VmError
from labkit.virtio.devices import LARGEST_DISK, SECTOR, Device, Disk
from labkit.virtio.lies import DEFAULT_VALUES, MEANINGS, ArmedLie, Exchange, LieName

_PATIENCE = 60.0
_LARGEST_ANSWER = 16 << 20
_MOST_DEVICES = 16


@dataclass(frozen=True)
class Record:
    """What a device was asked and what it said, oldest first.

    broken: how the guest broke its queue, if it did. served: the random bytes that an entropy device gave.
    """

    exchanges: tuple[Exchange, ...]
    broken: str = ""
    served: bytes = b""

    @property
    def lies(self) -> tuple[Exchange, ...]:
        """The exchanges that were not honest."""
        return tuple(exchange for exchange in self.exchanges if exchange.lie is not None)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON types, without the bytes that were served."""
        return {"exchanges": [exchange.to_dict() for exchange in self.exchanges], "broken": self.broken}

    def __repr__(self) -> str:
        return f"Record({len(self.exchanges)} exchanges, {len(self.lies)} lies)"


class Wire:
    """The connection to the process that serves a machine's devices."""

    def __init__(self, end: socket.socket) -> None:
        """Speak through ``end``."""
        end.settimeout(_PATIENCE)
        self._end = end
        self._lines = end.makefile("rb")
        self._lock = threading.Lock()

    def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """Give one command and return the answer.

        Raises:
            VmError: the process is gone.
        """
        with self._lock:
            try:
                self._end.sendall(json.dumps(command).encode() + b"\n")
                line = self._lines.readline(_LARGEST_ANSWER)
            except (OSError, ValueError) as error:
                raise _gone() from error
        if not line.endswith(b"\n"):
            raise _gone()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the connection, and with it the process."""
        self._lines.close()
        self._end.close()


class Attached:
    """A device of a running machine: honest, until it is told to lie."""

    def __init__(self, device: Device, number: int, wire: Wire) -> None:
        """``number`` of the machine's devices."""
        self.device = device
        self._number = number
        self._wire = wire

    @property
    def lies(self) -> dict[str, str]:
        """The lies that this device can tell, by name, each with what the guest is told."""
        return {name.value: MEANINGS[name] for name in self.device.lies}

    def lie(self, name: LieName | str, value: int | None = None, from_sector: int = 64) -> None:
        """Tell this lie once, with the next answer that it fits; then be honest again.

        value: of the lies that need one. from_sector: reads of a disk below it are answered honestly.

        Raises:
            UsageError: this device knows no such lie, or ``value`` does not fit.
            VmError: the device is gone.
        """
        known = ", ".join(self.device.lies)
        if name not in self.device.lies:
            raise UsageError(f"A device of kind {self.device.kind} has no lie {name!r}.", f"It has: {known}.")
        chosen = LieName(name)
        told = DEFAULT_VALUES.get(chosen, 0) if value is None else value
        if not 0 <= told < 1 << 32 or from_sector < 0:
            raise UsageError(f"{told} is not a value for this lie.", "Give a number from 0 to 2**32 - 1.")
        self._wire.ask({"device": self._number, "lie": asdict(ArmedLie(chosen, told, from_sector))})

    def record(self) -> Record:
        """What the guest asked so far, and what it was told.

        Raises:
            VmError: the device is gone.
        """
        answer = self._wire.ask({"device": self._number})
        exchanges = tuple(Exchange(**row) for row in answer["exchanges"])
        return Record(exchanges, answer["broken"], bytes.fromhex(answer["served"]))

    def __repr__(self) -> str:
        return f"Attached({self.device!r})"


def check_devices(devices: Sequence[Device]) -> None:
    """Refuse what cannot be attached.

    Raises:
        UsageError: too many devices, or a disk that is none.
    """
    if len(devices) > _MOST_DEVICES:
        raise UsageError(f"{len(devices)} devices are too many.", f"Attach {_MOST_DEVICES} at most.")
    for device in devices:
        if isinstance(device, Disk) and not SECTOR <= len(device.content) <= LARGEST_DISK:
            raise UsageError(
                f"A disk of {len(device.content)} bytes cannot be attached.",
                f"Give it {SECTOR} bytes to {LARGEST_DISK >> 20} MiB.",
            )


def _gone() -> VmError:
    return VmError("The process that serves this machine's devices is gone.", "Boot the machine again.")
