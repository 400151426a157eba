"""The guest's memory as QEMU shares it: regions, and reads and writes that never leave one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


class RingError(Exception):
    """What the guest has put into a queue or a buffer's address makes no sense."""


class Bytes(Protocol):
    """What a region is made of: ``mmap`` or ``bytearray``."""

    def __getitem__(self, part: slice, /) -> bytes | bytearray: ...

    def __setitem__(self, part: slice, data: bytes, /) -> None: ...


@dataclass(frozen=True)
class Region:
    """A stretch of guest memory: its guest address, QEMU's own, and where it begins in ``data``."""

    guest: int
    user: int
    size: int
    data: Bytes
    offset: int = 0


@dataclass(frozen=True)
class Segment:
    """A buffer that the guest names: guest address and bytes."""

    address: int
    size: int


class SharedMemory:
    """Guest memory by address. A stretch that is not wholly inside one region is refused."""

    def __init__(self, regions: Sequence[Region] = ()) -> None:
        """Look only into these regions."""
        self.regions = tuple(regions)

    def read(self, address: int, size: int) -> bytes:
        """Bytes at a guest address.

        Raises:
            RingError: they are not all in one region.
        """
        for region in self.regions:
            if (start := address - region.guest) >= 0 and start + size <= region.size:
                return _read(region, start, size)
        raise RingError(f"{size} bytes at guest address {address:#x} are not in the guest's memory")

    def write(self, address: int, data: bytes) -> None:
        """Put bytes to a guest address.

        Raises:
            RingError: they would not all be in one region.
        """
        for region in self.regions:
            if (start := address - region.guest) >= 0 and start + len(data) <= region.size:
                at = region.offset + start
                region.data[at : at + len(data)] = data
                return
        raise RingError(f"{len(data)} bytes at guest address {address:#x} are not in the guest's memory")

    def guest_address(self, user: int) -> int:
        """The guest address of what is at QEMU's own address ``user``.

        Raises:
            RingError: it is in no region.
        """
        for region in self.regions:
            if 0 <= user - region.user < region.size:
                return user - region.user + region.guest
        raise RingError("a queue is not in the guest's memory")

    def gather(self, segments: Iterable[Segment], limit: int) -> bytes:
        """The contents of buffers one after the other, at most ``limit`` bytes of them.

        Raises:
            RingError: one is outside of the guest's memory.
        """
        found = bytearray()
        for segment in segments:
            wanted = min(segment.size, limit - len(found))
            if wanted <= 0:
                continue
            found += self.read(segment.address, wanted)
        return bytes(found)

    def scatter(self, segments: Iterable[Segment], data: bytes) -> int:
        """Fill buffers one after the other; how many bytes found room.

        Raises:
            RingError: one is outside of the guest's memory.
        """
        done = 0
        for segment in segments:
            part = data[done : done + segment.size]
            if part:
                self.write(segment.address, part)
            done += len(part)
        return done


def _read(region: Region, start: int, size: int) -> bytes:
    at = region.offset + start
    return bytes(region.data[at : at + size])
