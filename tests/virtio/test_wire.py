"""Messages of vhost-user, whole and mangled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.virtio import wire
from labkit.virtio.wire import WireError

READERS = (
    wire.read_header,
    wire.read_number,
    wire.read_regions,
    wire.read_state,
    wire.read_addresses,
    wire.read_config_range,
)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    for reader in READERS:
        try:
            reader(data)
        except WireError:
            continue


def test_an_answer_carries_the_request_and_is_marked_as_one() -> None:
    header = wire.read_header(wire.message(wire.Request.GET_FEATURES, wire.number(5))[: wire.HEADER.size])
    assert (header.request, header.flags, header.size) == (1, 5, 8)


@pytest.mark.parametrize("header", [(1, 2, 8), (1, 1, 1 << 20)])
def test_another_version_and_a_payload_without_end_are_refused(header: tuple[int, int, int]) -> None:
    with pytest.raises(WireError):
        wire.read_header(wire.HEADER.pack(*header))


def test_configuration_beyond_the_device_is_zero() -> None:
    wanted = wire.read_config_range((4).to_bytes(4, "little") + (8).to_bytes(4, "little") + bytes(4))
    assert wire.config(wanted, b"abcdef")[12:] == b"ef" + bytes(6)
