from __future__ import annotations

import contextlib
import hashlib
import json
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import MalformedEventLog
from labkit.measure import EventLog, parse_log
from labkit.measure.describe import DataCheck, describe
from labkit.measure.event_log import LogEvent, LogFormat, LogHeader
from labkit.measure.event_types import ALGORITHMS, EventType
from tests.measure.logs import SHA256, SHA384, ccel, event, tcg_log, variable


@pytest.mark.parametrize("log", [tcg_log(), ccel(), ccel(b"\xff" * 100), ccel(b"\0" * 7), ccel(b"\xff" * 12)])
def test_a_log_is_read_as_written(log: EventLog) -> None:
    read = parse_log(log.encode())
    assert read == log
    assert read.encode() == log.encode()


def test_the_format_can_be_named_instead_of_guessed() -> None:
    few = replace(ccel(), events=ccel().events[:1])
    assert parse_log(few.encode()).format is LogFormat.CCEL
    assert parse_log(few.encode(), "tcg").format is LogFormat.TCG
    assert parse_log(tcg_log().encode()).derived_from == "vtpm"
    assert parse_log(ccel().encode()).derived_from is None


# TCG PC Client Platform Firmware Profile 1.06, of 2023, the tables of event types.
EVENT_TYPES = """
0 PREBOOT_CERT, 1 POST_CODE, 3 NO_ACTION, 4 SEPARATOR, 5 ACTION, 6 EVENT_TAG, 7 S_CRTM_CONTENTS,
8 S_CRTM_VERSION, 9 CPU_MICROCODE, A PLATFORM_CONFIG_FLAGS, B TABLE_OF_DEVICES, C COMPACT_HASH, D IPL,
E IPL_PARTITION_DATA, F NONHOST_CODE, 10 NONHOST_CONFIG, 11 NONHOST_INFO, 12 OMIT_BOOT_DEVICE_EVENTS,
13 POST_CODE2, 80000001 EFI_VARIABLE_DRIVER_CONFIG, 80000002 EFI_VARIABLE_BOOT,
80000003 EFI_BOOT_SERVICES_APPLICATION, 80000004 EFI_BOOT_SERVICES_DRIVER,
80000005 EFI_RUNTIME_SERVICES_DRIVER, 80000006 EFI_GPT_EVENT, 80000007 EFI_ACTION,
80000008 EFI_PLATFORM_FIRMWARE_BLOB, 80000009 EFI_HANDOFF_TABLES, 8000000A EFI_PLATFORM_FIRMWARE_BLOB2,
8000000B EFI_HANDOFF_TABLES2, 8000000C EFI_VARIABLE_BOOT2, 8000000D EFI_GPT_EVENT2,
80000010 EFI_HCRTM_EVENT, 800000E0 EFI_VARIABLE_AUTHORITY, 800000E1 EFI_SPDM_FIRMWARE_BLOB,
800000E2 EFI_SPDM_FIRMWARE_CONFIG"""


def test_event_types_have_the_numbers_of_the_specification() -> None:
    rows = (entry.split() for entry in EVENT_TYPES.split(","))
    known = {f"EV_{name}": int(number, 16) for number, name in rows}
    assert {kind.name: kind.value for kind in EventType} == {**known, "DSTACK_EVENT": 0x08000001}


def test_algorithms_have_the_numbers_of_the_registry_and_digests_of_their_size() -> None:
    names = {number: name for number, (name, _) in ALGORITHMS.items()}
    assert names == {0x4: "sha1", 0xB: "sha256", 0xC: "sha384", 0xD: "sha512", 0x12: "sm3"}
    for name, size in ALGORITHMS.values():
        assert size == (32 if name == "sm3" else hashlib.new(name).digest_size)


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        (EventType.EV_NO_ACTION, b"StartupLocality\0\x03", "StartupLocality 3"),
        (EventType.EV_NO_ACTION, b"StartupLocality\0\x03\x04", "StartupLocality"),
        (EventType.EV_S_CRTM_VERSION, "1.0 (a)\0".encode("utf-16-le"), "firmware version '1.0 (a)'"),
        (EventType.DSTACK_EVENT, b"app-id:\x01\xff", "app-id: 01ff"),
        (EventType.DSTACK_EVENT, b"end", "end: (empty)"),
        (0x99, b"abc", "3 bytes"),
    ],
)
def test_what_an_event_holds_is_told_in_a_line(kind: int, data: bytes, said: str) -> None:
    assert describe(kind, data) == said


def test_registers_are_named_as_a_td_has_them() -> None:
    log = tcg_log()
    names = {event.register: log.register_name(event) for event in log.events}
    assert names == {
        0: "MRTD",
        1: "RTMR0",
        2: "RTMR1",
        3: "RTMR1",
        4: "RTMR1",
        5: "RTMR1",
        6: "RTMR1",
        7: "RTMR0",
        9: "RTMR2",
    }
    assert [ccel().register_name(event) for event in ccel().events] == [
        "RTMR0",
        "RTMR0",
        "RTMR1",
        "RTMR2",
        "RTMR3",
        "RTMR0",
    ]


def _header(**changes: object) -> bytes:
    return replace(LogHeader(), **changes).encode()  # type: ignore[arg-type]


GOOD = ccel().encode()
IMA = struct.pack("<I20sI6sI", 10, b"\1" * 20, 6, b"ima-ng", 70) + bytes(70)
EVENT_1 = len(_header())
OF_TCG_1_2 = struct.pack("<II20sI4sII20sI4s", 0, 8, b"", 4, b"1.00", 0, 4, b"", 4, b"")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty file"),
        (bytes(4096), "without any entry"),
        (b"\xff" * 4096, "without any entry"),
        (b"\x04\0\2\0\x81\0\0\0" + bytes(5000), "TDX quote, not an event log"),
        (b"CCEL\x38\0\0\0\1" + bytes(47), "ACPI table CCEL"),
        (b"TPM2\x4c\0\0\0\4" + bytes(67), "ACPI table TPM2"),
        (b"10 " + b"9" * 40 + b" ima-ng sha256:00 boot_aggregate\n", "IMA's list"),
        (IMA, "IMA's list"),
        (GOOD + IMA, "Behind event 6, .* IMA's list"),
        (b"---\nversion: 1\nevents:\n- EventNum: 0\n", "output of tpm2_eventlog"),
        (b"---\nversion: 1\n", "text, not an event log"),
        (b'[{"recnum": 0, "pcr": 0, "digests": [], "content_type": "pcclient_std"}]', "canonical form"),
        (OF_TCG_1_2, "TCG 1.2"),
        (OF_TCG_1_2[:-1], "Spec ID"),
        (GOOD[:40], "too few"),
        (b"\x01" + bytes(100), "Spec ID"),
        (_header(register=2), "Spec ID"),
        (_header(algorithms=((0x99, 48),)), "0x0099"),
        (_header(algorithms=((SHA384, 32),)), "unknown"),
        (_header(algorithms=((SHA384, 48), (SHA384, 48))), "twice"),
        (_header(algorithms=()) + bytes(40), "announces 0"),
        (_header(vendor_info=b"abc")[:-1], "runs past"),
        (GOOD[:-1], "cut off"),
        (GOOD[:-20], "cut off"),
        (GOOD + b"x", "cut off"),
        (GOOD + bytes(20) + b"x", "other than padding"),
        (GOOD + b"\xff" * 20 + b"\0", "other than padding"),
        (GOOD[:EVENT_1] + b"\x09" + GOOD[EVENT_1 + 1 :] + b"", "register 9"),
        (GOOD[: EVENT_1 + 8] + b"\x02" + GOOD[EVENT_1 + 9 :], "2 digests"),
        (GOOD[: EVENT_1 + 12] + b"\x0b" + GOOD[EVENT_1 + 13 :], "0x000b"),
        (GOOD[: EVENT_1 + 62] + b"\xff\xff\xff\xff" + GOOD[EVENT_1 + 66 :], "cut off"),
    ],
)
def test_a_malformed_log_is_refused_with_its_reason(data: bytes, words: str) -> None:
    with pytest.raises(MalformedEventLog, match=words) as caught:
        parse_log(data, None if "register 9" not in words else LogFormat.CCEL)
    assert caught.value.exit_code == 65


def test_two_digests_of_one_bank_are_refused() -> None:
    log = tcg_log()
    first = log.events[0]
    twice = replace(first, digests=(first.digests[0], first.digests[0]))
    with pytest.raises(MalformedEventLog, match="two digests"):
        parse_log(replace(log, events=(twice,)).encode())


def test_a_pcr_that_does_not_exist_is_refused() -> None:
    log = tcg_log()
    with pytest.raises(MalformedEventLog, match="register 24"):
        parse_log(replace(log, events=(replace(log.events[0], register=24),)).encode())


events = st.builds(
    lambda register, kind, digest, data: LogEvent(0, register, kind, ((SHA384, digest),), data),
    st.integers(1, 4),
    st.one_of(st.sampled_from([int(kind) for kind in EventType]), st.integers(0, 2**32 - 1)),
    st.binary(min_size=48, max_size=48),
    st.binary(max_size=120),
)


@given(st.lists(events, max_size=8), st.sampled_from([b"", b"\0" * 33, b"\xff" * 20]))
def test_any_log_round_trips_and_can_be_shown(rows: list[LogEvent], padding: bytes) -> None:
    numbered = tuple(replace(row, index=number) for number, row in enumerate(rows, 1))
    log = EventLog(LogFormat.CCEL, LogHeader(register=1), numbered, padding)
    read = parse_log(log.encode())
    assert read == log
    for row in read.events:
        assert len(row.description) < 400
        assert row.description.isprintable()


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_byte_is_read_or_refused(offset: int, mask: int) -> None:
    data = bytearray(GOOD)
    data[offset] ^= mask
    with contextlib.suppress(MalformedEventLog):
        assert parse_log(bytes(data)).encode() == bytes(data)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for candidate in (data, _header() + data, b"[" + data):
        with contextlib.suppress(MalformedEventLog):
            parse_log(candidate)


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [
        (EventType.EV_SEPARATOR, bytes(4), "separator"),
        (EventType.EV_SEPARATOR, b"\xff" * 4, "separator after a firmware error"),
        (EventType.EV_SEPARATOR, b"\1\2", "separator with data 0102"),
        (EventType.EV_EFI_ACTION, b"Exit Boot", "Exit Boot"),
        (EventType.EV_EFI_ACTION, b"a\x1b[31mb\r\nc\td", "ab␍␊c␉d"),
        (EventType.EV_EFI_VARIABLE_DRIVER_CONFIG, variable("PK", b""), "variable PK: empty"),
        (EventType.EV_EFI_VARIABLE_DRIVER_CONFIG, variable("PK", b"")[:-1], "lengths do not fit"),
        (EventType.EV_EFI_VARIABLE_BOOT, variable("BootOrder", b"\1\0"), "variable BootOrder: 0100"),
        (
            EventType.EV_EFI_VARIABLE_BOOT,
            variable("Boot0001", b"\1\0\0\0\4\0" + "UiApp\0".encode("utf-16-le")),
            "'UiApp'",
        ),
        (EventType.EV_EVENT_TAG, b"\xed\x22\x3b\x8f\2\0\0\0hi", "kernel command line (hi)"),
        (EventType.EV_EVENT_TAG, b"\1\0\0\0\2\0\0\0hi", "tag 0x00000001: hi"),
        (EventType.EV_EVENT_TAG, b"\1\0\0\0\3\0\0\0hi", "length does not fit"),
        (EventType.EV_IPL, b"kernel_cmdline: a  b\0", "kernel_cmdline: a  b"),
        (EventType.EV_S_CRTM_VERSION, "edk2\0".encode("utf-16-le"), "firmware version 'edk2'"),
        (EventType.EV_EFI_PLATFORM_FIRMWARE_BLOB, struct.pack("<QQ", 0x1000, 0x20), "0x1000, 0x20 bytes"),
        (EventType.EV_EFI_PLATFORM_FIRMWARE_BLOB2, b"\2Fv" + bytes(16), "Fv"),
        (EventType.EV_EFI_BOOT_SERVICES_APPLICATION, struct.pack("<QQQQ", 16, 7, 0, 3), "7 bytes at 0x10"),
        (EventType.DSTACK_EVENT, b"app-id:\1", "app-id: 01"),
        (0x77777777, b"abc", "3 bytes"),
    ],
)
def test_events_are_described_for_people(kind: int, data: bytes, text: str) -> None:
    assert text in LogEvent(1, 1, kind, (), data).description


def test_long_text_is_bounded() -> None:
    shown = LogEvent(1, 1, EventType.EV_EFI_ACTION, (), b"x" * 100_000).description
    assert len(shown) < 300
    assert "100000 characters" in shown


def test_the_text_of_an_event_is_compared_with_its_digest() -> None:
    checks = {row.index: row.data_check for row in ccel().events}
    assert checks[1] is DataCheck.UNKNOWN
    assert checks[2] is checks[3] is checks[4] is checks[5] is DataCheck.MATCHES
    edited = event(1, 1, EventType.EV_EFI_VARIABLE_DRIVER_CONFIG, variable("secureBoot", b""), b"SecureBoot")
    assert edited.data_check is DataCheck.DIFFERS
    boot = variable("BootOrder", b"\0\0")
    for hashed in (boot, b"\0\0"):
        kind = EventType.EV_EFI_VARIABLE_BOOT
        assert event(1, 1, kind, boot, hashed, (SHA256, SHA384)).data_check is DataCheck.MATCHES
    one_bank = replace(
        edited, digests=(*edited.digests, *event(1, 1, EventType.EV_ACTION, edited.data).digests)
    )
    assert one_bank.data_check is DataCheck.DIFFERS


@pytest.mark.parametrize("text", [b"grub_cmd: linux /evil", b"kernel_cmdline: init=/x", b"module_cmdline: a"])
def test_a_string_of_grub_is_its_digests_or_lies(text: bytes) -> None:
    """GRUB measures what follows the prefix: another digest is of another string."""
    for end in (b"", b"\0"):
        words = text.partition(b": ")[2]
        assert event(1, 3, EventType.EV_IPL, text + end, words).data_check is DataCheck.MATCHES
        assert event(1, 3, EventType.EV_IPL, text + end, b"another").data_check is DataCheck.DIFFERS
    # What other loaders measure is not known from the text.
    assert event(1, 3, EventType.EV_IPL, b"(hd0)/vmlinuz\0", b"its bytes").data_check is DataCheck.UNKNOWN


def test_a_json_log_is_read() -> None:
    rows = [
        {"imr": 0, "event_type": 4, "digest": "00" * 48, "event": "", "event_payload": "00000000"},
        {"imr": 3, "event_type": 0x08000001, "digest": "11" * 48, "event": "app", "event_payload": "ff"},
    ]
    log = parse_log(json.dumps(rows).encode())
    assert [log.register_name(row) for row in log.events] == ["RTMR0", "RTMR3"]
    assert log.events[1].data == b"app:\xff"
    assert log.events[0].index == 0


@pytest.mark.parametrize(
    "change",
    [
        {"imr": 4},
        {"imr": "0"},
        {"digest": "00"},
        {"digest": "zz"},
        {"event_type": -1},
        {"event_payload": None},
    ],
)
def test_a_wrong_json_log_is_refused(change: dict[str, object]) -> None:
    row = {"imr": 0, "event_type": 4, "digest": "00" * 48, "event": "", "event_payload": ""} | change
    with pytest.raises(MalformedEventLog, match="JSON"):
        parse_log(json.dumps([row]).encode())
    with pytest.raises(MalformedEventLog, match="JSON"):
        parse_log(b"[1, 2]")


def test_a_list_without_events_is_no_log() -> None:
    with pytest.raises(MalformedEventLog, match="no event"):
        parse_log(b"[]")
