"""The messages of vhost-user (QEMU ``docs/interop/vhost-user.rst``): a pure codec.

The other side is QEMU. It is labkit's own, but a message is still read strictly.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

HEADER = struct.Struct("<III")
LARGEST_PAYLOAD = 4096

_VERSION, _REPLY, _NEED_REPLY = 1, 4, 8
_REGION = struct.Struct("<QQQQ")
_ADDRESSES = struct.Struct("<IIQQQQ")
_STATE = struct.Struct("<II")
_CONFIG = struct.Struct("<III")
MOST_REGIONS = 8
LARGEST_CONFIG = 256


class WireError(Exception):
    """A message that vhost-user does not have."""


class Request(IntEnum):
    """What QEMU asks for, where more than "done" is to be answered or remembered."""

    GET_FEATURES = 1
    SET_MEM_TABLE = 5
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    GET_PROTOCOL_FEATURES = 15
    SET_BACKEND_REQ_FD = 21
    GET_CONFIG = 24


CONFIG_CHANGED = 2
"""What the device itself says to QEMU: read the configuration again."""


@dataclass(frozen=True)
class Header:
    """What stands before a payload."""

    request: int
    flags: int
    size: int

    @property
    def wants_reply(self) -> bool:
        """QEMU waits for a number that says whether it worked."""
        return bool(self.flags & _NEED_REPLY)


@dataclass(frozen=True)
class MemoryRegion:
    """A row of the memory table; the descriptor that maps it comes beside the message."""

    guest: int
    size: int
    user: int
    offset: int


@dataclass(frozen=True)
class RingAddresses:
    """Where QEMU sees the parts of queue ``index``."""

    index: int
    descriptors: int
    used: int
    available: int


@dataclass(frozen=True)
class RingState:
    """A number about queue ``index``."""

    index: int
    number: int


@dataclass(frozen=True)
class ConfigRange:
    """A part of the device's configuration."""

    offset: int
    size: int
    flags: int


def read_header(data: bytes) -> Header:
    """Read the twelve bytes before a payload.

    Raises:
        WireError: another version, or more than any message has.
    """
    if len(data) != HEADER.size:
        raise WireError("a message that is cut off")
    header = Header(*HEADER.unpack(data))
    if header.flags & 3 != _VERSION:
        raise WireError(f"version {header.flags & 3} of vhost-user")
    if header.size > LARGEST_PAYLOAD:
        raise WireError(f"a payload of {header.size} bytes")
    return header


def message(request: int, payload: bytes = b"", *, reply: bool = True) -> bytes:
    """Write a message: an answer, or one that the device sends of its own."""
    return HEADER.pack(request, _VERSION | (_REPLY if reply else 0), len(payload)) + payload


def read_number(payload: bytes) -> int:
    """Read a payload of one 64-bit number."""
    return int(_unpack(struct.Struct("<Q"), payload)[0])


def number(value: int) -> bytes:
    """Write a payload of one 64-bit number."""
    return struct.pack("<Q", value)


def read_regions(payload: bytes) -> tuple[MemoryRegion, ...]:
    """Read the memory table.

    Raises:
        WireError: it has too many rows, or is not as long as it says.
    """
    count = int.from_bytes(payload[:4], "little")
    if count > MOST_REGIONS or len(payload) < 8 + count * _REGION.size:
        raise WireError(f"a memory table of {count} rows in {len(payload)} bytes")
    rows = (_REGION.unpack_from(payload, 8 + _REGION.size * row) for row in range(count))
    return tuple(MemoryRegion(*row) for row in rows)


def read_state(payload: bytes) -> RingState:
    """Read a number about a queue."""
    return RingState(*_unpack(_STATE, payload))


def state(value: RingState) -> bytes:
    """Write a number about a queue."""
    return _STATE.pack(value.index, value.number)


def read_addresses(payload: bytes) -> RingAddresses:
    """Read where the parts of a queue are."""
    index, _, descriptors, used, available, _ = _unpack(_ADDRESSES, payload)
    return RingAddresses(index, descriptors, used, available)


def read_config_range(payload: bytes) -> ConfigRange:
    """Read which part of the configuration is meant.

    Raises:
        WireError: it is none that there can be.
    """
    wanted = ConfigRange(*_unpack(_CONFIG, payload[: _CONFIG.size]))
    if wanted.offset + wanted.size > LARGEST_CONFIG:
        raise WireError(f"{wanted.size} bytes of configuration at {wanted.offset}")
    return wanted


def config(wanted: ConfigRange, whole: bytes) -> bytes:
    """Write a part of the configuration; what is beyond it is zero."""
    part = whole.ljust(LARGEST_CONFIG, b"\0")[wanted.offset : wanted.offset + wanted.size]
    return _CONFIG.pack(wanted.offset, wanted.size, wanted.flags) + part


def _unpack(layout: struct.Struct, payload: bytes) -> tuple[int, ...]:
    if len(payload) != layout.size:
        raise WireError(f"a payload of {len(payload)} bytes in the place of {layout.size}")
    return layout.unpack(payload)
