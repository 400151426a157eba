"""Small event logs made for the tests."""

from __future__ import annotations

import hashlib
import struct

from labkit.measure import EventLog
from labkit.measure.event_log import LogEvent, LogFormat, LogHeader
from labkit.measure.event_types import EventType

SHA256, SHA384 = 0x000B, 0x000C
GLOBAL = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")


def variable(name: str, content: bytes) -> bytes:
    return GLOBAL + struct.pack("<QQ", len(name), len(content)) + name.encode("utf-16-le") + content


def digests(data: bytes, banks: tuple[int, ...]) -> tuple[tuple[int, bytes], ...]:
    names = {SHA256: hashlib.sha256, SHA384: hashlib.sha384}
    return tuple((bank, names[bank](data).digest()) for bank in banks)


def event(
    index: int,
    register: int,
    kind: EventType,
    data: bytes,
    hashed: bytes | None = None,
    banks: tuple[int, ...] = (SHA384,),
) -> LogEvent:
    return LogEvent(index, register, kind, digests(data if hashed is None else hashed, banks), data)


def tcg_log(command_line: str = "console=ttyS0 initrd=initrd") -> EventLog:
    """Like the log of a real vTPM: every kind of event that OVMF and the EFI stub make."""
    banks = (SHA256, SHA384)
    kind = EventType
    tag = struct.pack("<II", 0x8F3B22ED, 26) + b"LOADED_IMAGE::LoadOptions\0"
    words = command_line.encode("utf-16-le") + b"\0\0"
    rows: list[tuple[int, EventType, bytes, bytes | None]] = [
        (0, kind.EV_S_CRTM_VERSION, b"\0\0", None),
        (0, kind.EV_EFI_PLATFORM_FIRMWARE_BLOB, struct.pack("<QQ", 0x820000, 0xE0000), b"PEIFV"),
        (7, kind.EV_EFI_VARIABLE_DRIVER_CONFIG, variable("SecureBoot", b"\0"), None),
        (7, kind.EV_SEPARATOR, bytes(4), None),
        (4, kind.EV_EFI_BOOT_SERVICES_APPLICATION, struct.pack("<QQQQ", 0x7000, 99, 0, 0), b"kernel"),
        (1, kind.EV_EFI_VARIABLE_BOOT, variable("BootOrder", b"\0\0"), b"\0\0"),
        (4, kind.EV_EFI_ACTION, b"Calling EFI Application from Boot Option", None),
        *((pcr, kind.EV_SEPARATOR, bytes(4), None) for pcr in range(7)),
        (9, kind.EV_EVENT_TAG, tag, words),
        (9, kind.EV_EVENT_TAG, struct.pack("<II", 0x8F3B22EC, 13) + b"Linux initrd\0", b"initrd file"),
        (5, kind.EV_EFI_ACTION, b"Exit Boot Services Invocation", None),
    ]
    header = LogHeader(algorithms=((SHA256, 32), (SHA384, 48)))
    events = tuple(
        event(number, register, kind, data, hashed, banks)
        for number, (register, kind, data, hashed) in enumerate(rows, 1)
    )
    return EventLog(LogFormat.TCG, header, events)


def ccel(padding: bytes = b"") -> EventLog:
    kind = EventType
    events = (
        event(1, 1, kind.EV_EFI_HANDOFF_TABLES2, b"\x09TdxTable\0" + bytes(32), b"HOB list"),
        event(2, 1, kind.EV_EFI_VARIABLE_DRIVER_CONFIG, variable("SecureBoot", b"")),
        event(3, 2, kind.EV_SEPARATOR, bytes(4)),
        event(4, 3, kind.EV_IPL, b"grub_cmd: linux /vmlinuz\0", b"linux /vmlinuz"),
        event(5, 4, kind.DSTACK_EVENT, b"app-id:\x01\x02", b"\x01\x00\x00\x08:app-id:\x01\x02"),
        event(6, 1, kind.EV_NO_ACTION, b"for your information"),
    )
    return EventLog(LogFormat.CCEL, LogHeader(register=1), events, padding)
