"""A split virtqueue, from the device's side (VIRTIO 1.2, section 2.7). Every number in it is the guest's.

Ordering: on x86 stores are seen in order, and one lock operation is a full barrier.
"""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass

from labkit.virtio.memory import RingError, Segment, SharedMemory

LARGEST_RING = 32768

_NEXT, _WRITE, _INDIRECT = 1, 2, 4
_DESCRIPTOR = struct.Struct("<QIHH")
_USED = struct.Struct("<II")
_BARRIER = threading.Lock()


@dataclass(frozen=True)
class Chain:
    """One request: the id by which it is answered, what the device may read, what it may write."""

    head: int
    readable: tuple[Segment, ...]
    writable: tuple[Segment, ...]

    @property
    def room(self) -> int:
        """Bytes that the device may write."""
        return sum(segment.size for segment in self.writable)


class Ring:
    """One queue. ``descriptors``, ``available`` and ``used`` are QEMU's own addresses of its three parts."""

    def __init__(
        self, memory: SharedMemory, size: int, descriptors: int, available: int, used: int, position: int = 0
    ) -> None:
        """Go on at ``position``, the count of requests that were taken before.

        Raises:
            RingError: the size is none, or a part is not in the guest's memory.
        """
        if not 0 < size <= LARGEST_RING or size & (size - 1):
            raise RingError(f"{size} is not a size of a ring")
        self.size = size
        self.position = position & 0xFFFF
        self._memory = memory
        self._descriptors = memory.guest_address(descriptors)
        self._available = memory.guest_address(available)
        self._used = memory.guest_address(used)
        self._answered = self._number(self._used + 2)

    def waiting(self) -> int:
        """How many requests wait.

        Raises:
            RingError: the guest announces more than the ring holds.
        """
        waiting = (self._number(self._available + 2) - self.position) & 0xFFFF
        if waiting > self.size:
            raise RingError(f"the guest announces {waiting} requests in a ring of {self.size}")
        return waiting

    def take(self) -> Chain | None:
        """The next request, or None.

        Raises:
            RingError: the guest announces more than the ring holds, or the request is malformed.
        """
        if not self.waiting():
            return None
        head = self._number(self._available + 4 + 2 * (self.position % self.size))
        chain = self._chain(head)
        self.position = (self.position + 1) & 0xFFFF
        return chain

    def answer(self, identity: int, length: int) -> None:
        """Tell the guest that request ``identity`` is done with ``length`` bytes: true or not.

        Raises:
            RingError: the ring is no longer in the guest's memory.
        """
        slot = self._used + 4 + _USED.size * (self._answered % self.size)
        self._memory.write(slot, _USED.pack(identity & 0xFFFFFFFF, length & 0xFFFFFFFF))
        self._answered = (self._answered + 1) & 0xFFFF
        self._memory.write(self._used + 2, struct.pack("<H", self._answered))

    def want_notice(self) -> None:
        """Ask to be told of the next request: QEMU 7.2 grants EVENT_IDX to its entropy device unasked.

        Look once more afterwards: a request may have come before the guest saw this.

        Raises:
            RingError: the ring is no longer in the guest's memory.
        """
        after = self._used + 4 + _USED.size * self.size
        self._memory.write(after, struct.pack("<H", self.position))
        with _BARRIER:
            pass

    def _number(self, address: int) -> int:
        return int.from_bytes(self._memory.read(address, 2), "little")

    def _chain(self, head: int) -> Chain:
        parts: tuple[list[Segment], list[Segment]] = ([], [])
        index = head
        for _ in range(self.size):
            if index >= self.size:
                raise RingError(f"there is no descriptor {index} in a ring of {self.size}")
            place = self._descriptors + _DESCRIPTOR.size * index
            # Read once: the guest may change it meanwhile.
            address, size, flags, index = _DESCRIPTOR.unpack(self._memory.read(place, _DESCRIPTOR.size))
            if flags & _INDIRECT:
                raise RingError("an indirect descriptor, which was not offered")
            if parts[1] and not flags & _WRITE:
                raise RingError("a buffer to read behind one to write")
            parts[bool(flags & _WRITE)].append(Segment(address, size))
            if not flags & _NEXT:
                return Chain(head, tuple(parts[0]), tuple(parts[1]))
        raise RingError("a chain of descriptors that does not end")
