"""A queue whose every number is hostile: a request, a refusal, and never anything else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.virtio.devices import LARGEST_REQUEST, Disk, DiskModel, EntropyModel
from labkit.virtio.memory import Region, RingError, Segment, SharedMemory
from labkit.virtio.ring import Chain, Ring
from tests.virtio.guest import AVAILABLE, DESCRIPTORS, GUEST, SIZE, USED, USER, Guest


class Watched(bytearray):
    """Memory that fails the test where somebody touches what is outside of it."""

    def __getitem__(self, part):  # type: ignore[no-untyped-def]
        assert 0 <= part.start <= part.stop <= len(self)
        return super().__getitem__(part)

    def __setitem__(self, part, data):  # type: ignore[no-untyped-def]
        assert 0 <= part.start <= part.stop <= len(self)
        assert part.stop - part.start == len(data)
        super().__setitem__(part, data)


def test_a_request_is_taken_once_and_answered_where_the_guest_looks() -> None:
    guest = Guest()
    guest.offer([(0x4000, 64, True)])
    ring = guest.ring()
    assert ring.take() == Chain(0, (), (Segment(GUEST + 0x4000, 64),))
    assert ring.take() is None
    ring.answer(0, 64)
    assert guest.answers() == [(0, 64)]


@given(
    noise=st.binary(max_size=0x3000),
    head=st.integers(0, 0xFFFF),
    announced=st.integers(0, 0xFFFF),
    rows=st.lists(
        st.tuples(
            st.sampled_from([0, GUEST, GUEST + 0x4000, GUEST + SIZE - 1, 2**64 - 1])
            | st.integers(0, 2**64 - 1),
            st.sampled_from([0, 1, 16, 512, SIZE, 2**32 - 1]),
            st.integers(0, 7),
            st.integers(0, 20),
        ),
        max_size=8,
    ),
)
def test_no_queue_makes_a_device_crash_hang_or_leave_the_guests_memory(
    noise: bytes, head: int, announced: int, rows: list[tuple[int, int, int, int]]
) -> None:
    data = Watched(SIZE)
    bytearray.__setitem__(data, slice(0, len(noise)), noise)
    memory = SharedMemory([Region(GUEST, USER, SIZE, data)])
    memory.write(GUEST + AVAILABLE, struct.pack("<HHH", 0, announced, head))
    for number, row in enumerate(rows):
        memory.write(GUEST + DESCRIPTORS + 16 * number, struct.pack("<QIHH", *row))
    for model in (EntropyModel(), DiskModel(Disk().content)):
        ring = Ring(memory, 8, USER + DESCRIPTORS, USER + AVAILABLE, USER + USED)
        try:
            for _ in range(16):
                if (chain := ring.take()) is None:
                    break
                assert len(chain.readable) + len(chain.writable) <= 8
                for identity, length in model.serve(chain, memory, ring.size, None).answers:
                    ring.answer(identity, length)
        except RingError:
            pass


@pytest.mark.parametrize("size", [0, 3, 1 << 16])
def test_a_ring_of_no_size_is_refused(size: int) -> None:
    with pytest.raises(RingError, match="not a size of a ring"):
        Ring(Guest().memory, size, USER, USER, USER)


@pytest.mark.parametrize(
    ("address", "size"), [(GUEST - 1, 2), (GUEST + SIZE, 1), (GUEST, SIZE + 1), (2**64 - 1, 2), (0, 0)]
)
def test_a_stretch_that_is_not_wholly_the_guests_is_refused(address: int, size: int) -> None:
    memory = Guest().memory
    with pytest.raises(RingError):
        memory.read(address, size)
    with pytest.raises(RingError):
        memory.write(address, bytes(size))


def test_a_chain_that_bites_its_tail_ends() -> None:
    guest = Guest()
    guest.offer([(0x4000, 16, True), (0x4000, 16, True)])
    guest.memory.write(GUEST + DESCRIPTORS + 16, struct.pack("<QIHH", GUEST + 0x4000, 16, 3, 0))
    with pytest.raises(RingError, match="does not end"):
        guest.ring().take()


def test_a_disk_refuses_more_than_it_would_hold_in_memory() -> None:
    """As many buffers as a queue has, each as large as memory: an error for the guest, no memory for it."""
    guest = Guest()
    model = DiskModel(Disk().content)
    guest.memory.write(GUEST + 0x5000, struct.pack("<IIQ", 0, 0, 0))
    chain = Chain(
        0,
        (Segment(GUEST + 0x5000, 16),),
        (*(Segment(GUEST, SIZE) for _ in range(LARGEST_REQUEST // SIZE + 1)), Segment(GUEST + 0x4000, 1)),
    )
    assert model.serve(chain, guest.memory, 8, None).exchange.honest == "id 0, length 1, status 0x01"
    assert guest.memory.read(GUEST + 0x4000, 1) == b"\x01"
