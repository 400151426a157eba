"""The device's side of one vhost-user connection: QEMU's messages, the queue, and the lie that waits."""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
from collections import deque
from collections.abc import Callable

from labkit.virtio import wire
from labkit.virtio.devices import DiskModel, Model
from labkit.virtio.lies import ArmedLie, Exchange, LieName
from labkit.virtio.memory import Region, RingError, SharedMemory
from labkit.virtio.ring import LARGEST_RING, Ring
from labkit.virtio.wire import Request, WireError

_VERSION_1, _PROTOCOL = 1 << 32, 1 << 30
_REPLY_ACK, _BACKEND_REQ, _CONFIG = 1 << 3, 1 << 5, 1 << 9
_KEPT = 10_000
"""Exchanges that a record holds; the oldest go first."""


class Backend:
    """One device. ``connection`` is QEMU's; ``kick``, if it is one, becomes readable with a new request."""

    def __init__(self, model: Model, connection: socket.socket) -> None:
        """Wait for QEMU's first message."""
        self.model = model
        self.connection = connection
        self.record: deque[Exchange] = deque(maxlen=_KEPT)
        self.broken = ""
        self.kick: int | None = None
        self._lie: ArmedLie | None = None
        self._call: int | None = None
        self._to_qemu: socket.socket | None = None
        self._memory = SharedMemory()
        self._maps: list[mmap.mmap] = []
        self._size = 0
        self._position = 0
        self._addresses: wire.RingAddresses | None = None
        self._ring: Ring | None = None
        self._handlers: dict[int, Callable[[bytes, list[int]], bytes | None]] = {
            Request.GET_FEATURES: lambda *_: wire.number(_VERSION_1 | _PROTOCOL | self.model.features),
            Request.GET_PROTOCOL_FEATURES: lambda *_: wire.number(_REPLY_ACK | _BACKEND_REQ | _CONFIG),
            Request.SET_MEM_TABLE: self._set_memory,
            Request.SET_VRING_NUM: self._set_size,
            Request.SET_VRING_ADDR: self._set_addresses,
            Request.SET_VRING_BASE: self._set_position,
            Request.GET_VRING_BASE: self._stop,
            Request.SET_VRING_KICK: self._set_kick,
            Request.SET_VRING_CALL: self._set_call,
            Request.SET_BACKEND_REQ_FD: self._set_backend,
            Request.GET_CONFIG: self._get_config,
        }

    def arm(self, lie: ArmedLie) -> None:
        """Tell this lie with the next answer that it fits; a lie about the capacity is told at once."""
        if lie.name is LieName.CAPACITY:
            assert isinstance(self.model, DiskModel)
            honest, self.model.said_capacity = self.model.said_capacity, lie.value
            asked = "how many sectors there are"
            self.record.append(Exchange(asked, f"{honest} sectors", f"{lie.value} sectors", lie.name.value))
            if self._to_qemu is not None:
                self._to_qemu.send(wire.message(wire.CONFIG_CHANGED, reply=False))
        else:
            self._lie = lie

    def listen(self) -> bool:
        """Handle one message of QEMU; False when there will be no more.

        Raises:
            WireError: it is not a message that QEMU sends.
        """
        data, descriptors, _, _ = socket.recv_fds(self.connection, wire.HEADER.size, wire.MOST_REGIONS)
        taken = list(descriptors)
        try:
            data += _exactly(self.connection, wire.HEADER.size - len(data)) if data else b""
            if not data:
                return False
            header = wire.read_header(data)
            payload = _exactly(self.connection, header.size)
            handler = self._handlers.get(header.request)
            answer = handler(payload, taken) if handler else None
        finally:
            for descriptor in taken:
                os.close(descriptor)
        if answer is None and header.wants_reply:
            answer = wire.number(0)
        if answer is not None:
            self.connection.sendall(wire.message(header.request, answer))
        return True

    def kicked(self) -> None:
        """Serve what waits in the queue. The device of a guest that breaks its queue answers no more."""
        if self.kick is not None:
            with contextlib.suppress(BlockingIOError):
                os.read(self.kick, 8)
        try:
            self._serve()
        except RingError as error:
            self.broken = str(error)
            self._ring = None

    def close(self) -> None:
        """Give up memory, descriptors and the connection."""
        self._ring = None
        for descriptor in (self.kick, self._call):
            if descriptor is not None:
                os.close(descriptor)
        self.kick = self._call = None
        if self._to_qemu is not None:
            self._to_qemu.close()
        self._forget_memory()
        self.connection.close()

    def _serve(self) -> None:
        ring = self._ring
        if ring is None:
            return
        served = 0
        # No more than a full ring at a time: the other devices and the owner have their turn.
        while served < ring.size and (chain := ring.take()) is not None:
            done = self.model.serve(chain, self._memory, ring.size, self._lie)
            if done.lied:
                self._lie = None
            self.record.append(done.exchange)
            for identity, length in done.answers:
                ring.answer(identity, length)
            served += 1
        ring.want_notice()
        if served and self._call is not None:
            _signal(self._call)
        if ring.waiting() and self.kick is not None:
            _signal(self.kick)

    def _start(self) -> None:
        if self._addresses is None or self.kick is None:
            return
        parts = self._addresses
        try:
            self._ring = Ring(
                self._memory, self._size, parts.descriptors, parts.available, parts.used, self._position
            )
            self.broken = ""
        except RingError as error:
            self.broken = str(error)
            return
        # What was put there before the device listened.
        self.kicked()

    def _set_memory(self, payload: bytes, descriptors: list[int]) -> None:
        rows = wire.read_regions(payload)
        if len(rows) != len(descriptors):
            raise WireError(f"{len(rows)} regions of memory with {len(descriptors)} descriptors")
        position = self._ring.position if self._ring else None
        self._ring = None
        self._forget_memory()
        regions = []
        for row, descriptor in zip(rows, descriptors, strict=True):
            end = row.offset + row.size
            if row.size == 0 or end > os.fstat(descriptor).st_size:
                raise WireError("a region of memory that is not in its file")
            mapped = mmap.mmap(descriptor, end)
            self._maps.append(mapped)
            regions.append(Region(row.guest, row.user, row.size, mapped, row.offset))
        self._memory = SharedMemory(regions)
        if position is not None:
            self._position = position
            self._start()

    def _forget_memory(self) -> None:
        self._memory = SharedMemory()
        for mapped in self._maps:
            mapped.close()
        self._maps = []

    def _set_size(self, payload: bytes, _: list[int]) -> None:
        # QEMU's own word counts: its entropy device has 4 entries in one version, 1024 in another.
        self._size = min(wire.read_state(payload).number, LARGEST_RING)

    def _set_addresses(self, payload: bytes, _: list[int]) -> None:
        self._addresses = wire.read_addresses(payload)

    def _set_position(self, payload: bytes, _: list[int]) -> None:
        self._position = wire.read_state(payload).number & 0xFFFF

    def _stop(self, payload: bytes, _: list[int]) -> bytes:
        asked = wire.read_state(payload)
        if self._ring is not None:
            self._position = self._ring.position
        self._ring = None
        self._replace_kick([])
        return wire.state(wire.RingState(asked.index, self._position))

    def _set_kick(self, _: bytes, descriptors: list[int]) -> None:
        self._replace_kick(descriptors)
        self._start()

    def _replace_kick(self, descriptors: list[int]) -> None:
        if self.kick is not None:
            os.close(self.kick)
        self.kick = descriptors.pop(0) if descriptors else None

    def _set_call(self, _: bytes, descriptors: list[int]) -> None:
        if self._call is not None:
            os.close(self._call)
        self._call = descriptors.pop(0) if descriptors else None

    def _set_backend(self, _: bytes, descriptors: list[int]) -> None:
        if self._to_qemu is not None:
            self._to_qemu.close()
        self._to_qemu = socket.socket(fileno=descriptors.pop(0)) if descriptors else None

    def _get_config(self, payload: bytes, _: list[int]) -> bytes:
        return wire.config(wire.read_config_range(payload), self.model.config)


def _exactly(connection: socket.socket, size: int) -> bytes:
    """So many bytes, all of them.

    Raises:
        WireError: QEMU ended in the middle of a message.
    """
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise WireError("a message that is cut off")
        data += part
    return data


def _signal(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.write(descriptor, (1).to_bytes(8, "little"))
