"""The devices that can be attached to a machine, and what one does with a request: honestly, or by a lie."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Protocol

from labkit.virtio.lies import FORGED, ArmedLie, Exchange, LieName, Reply
from labkit.virtio.memory import RingError, Segment, SharedMemory
from labkit.virtio.ring import Chain

SECTOR = 512
LARGEST_DISK = 64 << 20
LARGEST_REQUEST = 4 << 20
"""Bytes of one request to a disk; a larger one gets an error, and no memory."""

_LARGEST_DRAW = 1 << 16
_LARGEST_SERVED = 1 << 20
_SEGMENTS = 62
# VIRTIO 1.2, sections 5.2.3 and 5.2.5.
_SEG_MAX, _BLK_SIZE, _FLUSH = 1 << 2, 1 << 6, 1 << 9
_CONFIG = struct.Struct("<QIIIIBBHIBBH")
_IN, _OUT, _FLUSHED, _GET_ID = 0, 1, 4, 8
# Which ids are told must not depend on the queue: QEMU 10 gives a disk 1024 entries, whatever was asked for.
# These are the same in every queue of 64 to 1024 entries.
_BEYOND, _UNUSED = 1064, 63


class DiskStatus(IntEnum):
    """The last byte of a disk's answer."""

    OK = 0
    IOERR = 1
    UNSUPP = 2


def text_sectors(count: int) -> bytes:
    """Contents for a disk: each sector says in a line of text which one it is."""
    return b"".join(f"sector {number:6}: honest\n".encode().ljust(SECTOR, b".") for number in range(count))


@dataclass(frozen=True)
class Entropy:
    """A source of random bytes (``virtio-rng``)."""

    kind = "entropy"
    driver = "virtio-rng"
    lies = (LieName.LENGTH,)


@dataclass(frozen=True)
class Disk:
    """A disk (``virtio-blk``) with these contents; what the guest writes is gone with the machine."""

    content: bytes = field(default_factory=lambda: text_sectors(2048), repr=False)
    kind = "disk"
    driver = "virtio_blk"
    lies = tuple(LieName)


Device = Entropy | Disk


class Model(Protocol):
    """A device's behaviour: what it offers, and how it answers a request."""

    @property
    def features(self) -> int:
        """The bits that it offers."""
        ...

    @property
    def config(self) -> bytes:
        """The configuration, as the guest reads it."""
        ...

    def serve(self, chain: Chain, memory: SharedMemory, ring_size: int, lie: ArmedLie | None) -> Served:
        """Answer one request; ``lie`` is told where the request is one that it fits."""
        ...


@dataclass(frozen=True)
class Served:
    """One answer: what goes into the queue, what goes into the record, and whether the lie is used up."""

    answers: tuple[tuple[int, int], ...]
    exchange: Exchange
    lied: bool


def tell(chain: Chain, honest: Reply, ring_size: int, lie: ArmedLie) -> Reply:
    """The answer that a lie makes of an honest one."""
    if lie.name is LieName.LENGTH:
        return replace(honest, length=lie.value)
    if lie.name is LieName.ID_OUT_OF_RANGE:
        return replace(honest, ids=(lie.value or max(_BEYOND, ring_size),))
    if lie.name is LieName.ID_NOT_OFFERED:
        free = next(number for number in range(min(_UNUSED, ring_size - 1), -1, -1) if number != chain.head)
        return replace(honest, ids=(free,))
    if lie.name is LieName.ID_TWICE:
        return replace(honest, ids=(chain.head, chain.head))
    if lie.name is LieName.STATUS:
        return replace(honest, status=lie.value & 0xFF)
    return replace(honest, data="forged")


def _served(asked: str, honest: Reply, told: Reply, lie: ArmedLie | None) -> Served:
    answers = tuple((identity, told.length) for identity in told.ids)
    name = lie.name.value if lie else None
    return Served(answers, Exchange(asked, str(honest), str(told), name), lie is not None)


class EntropyModel:
    """Random bytes of this machine. What was served is remembered, to be told from other bytes."""

    features = 0
    config = b""

    def __init__(self) -> None:
        """Nothing was served yet."""
        self.served = bytearray()

    def serve(self, chain: Chain, memory: SharedMemory, ring_size: int, lie: ArmedLie | None) -> Served:
        """Fill the buffers, or the first 64 KiB of them."""
        drawn = os.urandom(min(chain.room, _LARGEST_DRAW))
        length = memory.scatter(chain.writable, drawn)
        self.served += drawn
        del self.served[:-_LARGEST_SERVED]
        honest = Reply((chain.head,), length)
        told = tell(chain, honest, ring_size, lie) if lie else honest
        return _served(f"{chain.room} random bytes", honest, told, lie)


class DiskModel:
    """A disk in memory."""

    features = _SEG_MAX | _BLK_SIZE | _FLUSH

    def __init__(self, content: bytes) -> None:
        """Serve these contents, in whole sectors."""
        self._content = bytearray(content[: len(content) // SECTOR * SECTOR])
        self.said_capacity = self.capacity
        self._seen: set[int] = set()
        self._late: tuple[Segment, ...] | None = None

    @property
    def capacity(self) -> int:
        """Sectors that there are."""
        return len(self._content) // SECTOR

    @property
    def config(self) -> bytes:
        """``struct virtio_blk_config``, up to the number of queues."""
        return _CONFIG.pack(self.said_capacity, 0, _SEGMENTS, 0, SECTOR, 0, 0, 0, 0, 0, 0, 1)

    def serve(self, chain: Chain, memory: SharedMemory, ring_size: int, lie: ArmedLie | None) -> Served:
        """Read, write, flush, or say the disk's name.

        Raises:
            RingError: the request has no header, or no room for a status.
        """
        header = memory.gather(chain.readable, 16)
        if len(header) < 16 or not chain.room:
            raise RingError("a request to a disk without a header or without room for a status")
        kind, _, sector = struct.unpack("<IIQ", header)
        self._write_late(memory)
        room = chain.room - 1
        asked = _ASKED.get(kind, f"request {kind}")
        if kind in (_IN, _OUT):
            size = room if kind == _IN else sum(segment.size for segment in chain.readable) - 16
            asked = f"{asked} {size} bytes at sector {sector}"
        else:
            size = 0
        status, data = self._do(kind, sector, size, chain, memory, room)
        fits = kind == _IN and status is DiskStatus.OK and lie is not None and sector >= lie.from_sector
        if lie is not None and lie.name is LieName.SECOND_READ and fits and sector not in self._seen:
            self._seen.add(sector)
            fits = False
        used = lie if fits else None
        honest = Reply((chain.head,), len(data) + 1, status.value)
        told = tell(chain, honest, ring_size, used) if used else honest
        if used is not None and used.name is LieName.LATE_WRITE:
            self._late = chain.writable
        elif told.data == "forged":
            data = FORGED + data[len(FORGED) :]
        memory.scatter(chain.writable, data)
        last = [segment for segment in chain.writable if segment.size][-1]
        memory.write(last.address + last.size - 1, bytes([told.status or 0]))
        return _served(asked, honest, told, used)

    def _do(
        self, kind: int, sector: int, size: int, chain: Chain, memory: SharedMemory, room: int
    ) -> tuple[DiskStatus, bytes]:
        if kind in (_IN, _OUT):
            start = sector * SECTOR
            if size % SECTOR or not 0 < size <= LARGEST_REQUEST or start + size > len(self._content):
                return DiskStatus.IOERR, b""
            if kind == _IN:
                return DiskStatus.OK, bytes(self._content[start : start + size])
            self._content[start : start + size] = memory.gather(chain.readable, 16 + size)[16:]
            return DiskStatus.OK, b""
        if kind == _GET_ID:
            return DiskStatus.OK, b"labkit".ljust(20, b"\0")[:room]
        return (DiskStatus.OK if kind == _FLUSHED else DiskStatus.UNSUPP), b""

    def _write_late(self, memory: SharedMemory) -> None:
        """Write again into the buffer of an answer that was given long ago."""
        if self._late is not None:
            segments, self._late = self._late, None
            memory.scatter(segments, FORGED)


_ASKED = {_IN: "read", _OUT: "write", _FLUSHED: "flush", _GET_ID: "the disk's name"}
