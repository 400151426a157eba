"""What a device makes of one request: the truth, or one lie by its name."""

from __future__ import annotations

import pytest

from labkit.virtio.devices import Disk, DiskModel, EntropyModel, text_sectors
from labkit.virtio.lies import FORGED, ArmedLie, LieName
from tests.virtio.guest import Guest

HONEST = text_sectors(101)[-512:]


def read(
    lie: ArmedLie | None, sector: int = 100, ring_size: int = 8
) -> tuple[list[tuple[int, int]], bytes, int, str | None]:
    guest, model = Guest(), DiskModel(Disk().content)
    guest.read_sector(sector)
    chain = guest.ring().take()
    assert chain is not None
    served = model.serve(chain, guest.memory, ring_size, lie)
    data, status = guest.data()
    return list(served.answers), data, status, served.exchange.lie


@pytest.mark.parametrize(
    ("lie", "answers", "status"),
    [
        (None, [(0, 513)], 0),
        (ArmedLie(LieName.LENGTH, 65536), [(0, 65536)], 0),
        (ArmedLie(LieName.LENGTH, 0), [(0, 0)], 0),
        (ArmedLie(LieName.ID_OUT_OF_RANGE), [(1064, 513)], 0),
        (ArmedLie(LieName.ID_NOT_OFFERED), [(7, 513)], 0),
        (ArmedLie(LieName.ID_TWICE), [(0, 513), (0, 513)], 0),
        (ArmedLie(LieName.STATUS, 0xEE), [(0, 513)], 0xEE),
    ],
)
def test_a_disk_lies_in_one_thing_alone(
    lie: ArmedLie | None, answers: list[tuple[int, int]], status: int
) -> None:
    told, data, found, by = read(lie)
    assert (told, found, data) == (answers, status, HONEST)
    assert by == (lie.name.value if lie else None)


@pytest.mark.parametrize("ring_size", [64, 128, 1024])
def test_a_false_id_is_the_same_in_every_queue_that_qemu_gives_a_disk(ring_size: int) -> None:
    assert read(ArmedLie(LieName.ID_OUT_OF_RANGE), ring_size=ring_size)[0] == [(1064, 513)]
    assert read(ArmedLie(LieName.ID_NOT_OFFERED), ring_size=ring_size)[0] == [(63, 513)]


@pytest.mark.parametrize("ring_size", [2, 32768])
def test_a_false_id_is_what_its_name_says_in_any_queue(ring_size: int) -> None:
    ((beyond, _),) = read(ArmedLie(LieName.ID_OUT_OF_RANGE), ring_size=ring_size)[0]
    ((unused, _),) = read(ArmedLie(LieName.ID_NOT_OFFERED), ring_size=ring_size)[0]
    assert beyond >= ring_size
    assert 0 < unused < ring_size


def test_false_data_are_of_the_right_form() -> None:
    told, data, status, _ = read(ArmedLie(LieName.FALSE_DATA))
    assert (told, status, len(data)) == ([(0, 513)], 0, 512)
    assert data == FORGED + HONEST[len(FORGED) :]


def test_the_first_sectors_are_answered_honestly() -> None:
    assert read(ArmedLie(LieName.STATUS, 0xEE), sector=63)[2:] == (0, None)
    assert read(ArmedLie(LieName.STATUS, 0xEE, from_sector=0), sector=0)[2:] == (0xEE, "status")


def test_the_second_read_of_a_sector_differs_and_the_first_of_another_does_not() -> None:
    guest, model = Guest(entries=16), DiskModel(Disk().content)
    ring = guest.ring()
    lie = ArmedLie(LieName.SECOND_READ)
    lied = []
    for sector in (100, 101, 100):
        guest.read_sector(sector)
        chain = ring.take()
        assert chain is not None
        lied.append(model.serve(chain, guest.memory, 16, lie).lied)
    assert lied == [False, False, True]


def test_a_late_write_waits_for_the_next_request() -> None:
    guest, model = Guest(), DiskModel(Disk().content)
    ring = guest.ring()
    guest.read_sector(100)
    chain = ring.take()
    assert chain is not None
    assert model.serve(chain, guest.memory, 8, ArmedLie(LieName.LATE_WRITE)).lied
    assert guest.data()[0] == HONEST
    guest.read_sector(101, place=0x8000)
    chain = ring.take()
    assert chain is not None
    model.serve(chain, guest.memory, 8, None)
    assert guest.data()[0].startswith(FORGED)


def test_entropy_is_honest_but_for_its_length() -> None:
    guest, model = Guest(), EntropyModel()
    guest.offer([(0x4000, 64, True)])
    chain = guest.ring().take()
    assert chain is not None
    served = model.serve(chain, guest.memory, 8, ArmedLie(LieName.LENGTH, 65536))
    assert served.answers == ((0, 65536),)
    exchange = served.exchange
    assert (exchange.asked, exchange.honest, exchange.told, exchange.lie) == (
        "64 random bytes",
        "id 0, length 64",
        "id 0, length 65536",
        "length",
    )
    assert len(model.served) == 64
