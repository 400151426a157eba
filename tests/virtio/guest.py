"""A guest of a few lines: a ring in its memory, and requests in it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from labkit.virtio.memory import Region, SharedMemory
from labkit.virtio.ring import Ring

SIZE = 0x10000
GUEST, USER = 0x100000, 0x7F0000000000
DESCRIPTORS, AVAILABLE, USED = 0x0, 0x1000, 0x2000


class Guest:
    """Memory with an empty ring of ``entries``; buffers are given by their place in the memory."""

    def __init__(self, data: bytearray | None = None, entries: int = 8) -> None:
        self.memory = SharedMemory([Region(GUEST, USER, SIZE, data if data is not None else bytearray(SIZE))])
        self.entries = entries
        self._offered = self._next = 0

    def ring(self) -> Ring:
        """The device's view of the ring."""
        return Ring(self.memory, self.entries, USER + DESCRIPTORS, USER + AVAILABLE, USER + USED)

    def offer(self, buffers: Sequence[tuple[int, int, bool]]) -> int:
        """Offer one request of these buffers (place, size, for the device to write); its id."""
        head = self._next
        for number, (place, size, write) in enumerate(buffers):
            more = number < len(buffers) - 1
            flags = 2 * write | more
            row = struct.pack("<QIHH", GUEST + place, size, flags, self._next + 1)
            self.memory.write(GUEST + DESCRIPTORS + 16 * self._next, row)
            self._next += 1
        slot = GUEST + AVAILABLE + 4 + 2 * (self._offered % self.entries)
        self.memory.write(slot, struct.pack("<H", head))
        self._offered += 1
        self.memory.write(GUEST + AVAILABLE + 2, struct.pack("<H", self._offered))
        return head

    def read_sector(self, sector: int, place: int = 0x6000) -> int:
        """Ask a disk for one sector; its header stands at ``place``, the data and the status behind it."""
        self.memory.write(GUEST + place, struct.pack("<IIQ", 0, 0, sector))
        return self.offer([(place, 16, False), (place + 16, 512, True), (place + 528, 1, True)])

    def answers(self) -> list[tuple[int, int]]:
        """What the device has put into the ring."""
        count = int.from_bytes(self.memory.read(GUEST + USED + 2, 2), "little")
        slots = (self.memory.read(GUEST + USED + 4 + 8 * number, 8) for number in range(count))
        return [(first, second) for first, second in (struct.unpack("<II", slot) for slot in slots)]

    def data(self, place: int = 0x6000) -> tuple[bytes, int]:
        """The data and the status of a sector that was read."""
        found = self.memory.read(GUEST + place + 16, 513)
        return found[:512], found[512]
