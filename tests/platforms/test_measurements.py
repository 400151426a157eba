from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabkitError, MalformedEventLog, VmError
from labkit.measure import FirmwareMeasurement, PageOrder, Tdvf, replay_pcrs
from labkit.platforms import parse_measurements

FIRMWARE = FirmwareMeasurement("f", Tdvf((), 0, b""), {order: bytes(48) for order in PageOrder})


def event(register: int, digest: bytes) -> bytes:
    digests = struct.pack("<H32sH48s", 0x0B, digest[:32], 0x0C, digest)
    return struct.pack("<III", register, 0x4, 2) + digests + struct.pack("<I", 4) + bytes(4)


def log(*events: bytes) -> bytes:
    algorithms = struct.pack("<IHHHH", 2, 0x0B, 32, 0x0C, 48)
    data = b"Spec ID Event03\0" + struct.pack("<IBBBB", 0, 0, 2, 0, 2) + algorithms + b"\0"
    return struct.pack("<II20sI", 0, 3, bytes(20), len(data)) + data + b"".join(events)


def printed(raw: bytes, spoil: tuple[str, int] | None = None) -> str:
    """What a guest with an honest vTPM prints, or one that lies about one register."""
    lines = [base64.encodebytes(raw).decode()]
    probe = parse_measurements(lines[0], FIRMWARE).log
    for bank, size in (("sha256", 32), ("sha384", 48)):
        values = {number: bytes(size) for number in range(24)} | replay_pcrs(probe, bank)
        for number, value in values.items():
            shown = bytes(size) if (bank, number) == spoil else value
            lines.append(f"{bank} {number} {shown.hex().upper()}\n")
    return "".join(lines)


RAW = log(event(4, b"\x11" * 48), event(9, b"\x22" * 48), event(1, b"\x33" * 48))


def test_an_honest_log_accounts_for_every_register() -> None:
    measured = parse_measurements(printed(RAW), FIRMWARE)
    assert measured.replay_matches
    assert [any(value) for value in measured.rtmr] == [True, True, True, False]


@pytest.mark.parametrize("register", [("sha256", 4), ("sha384", 9), ("sha384", 1)])
def test_a_register_that_the_log_does_not_explain_is_named(register: tuple[str, int]) -> None:
    measured = parse_measurements(printed(RAW, spoil=register), FIRMWARE)
    assert measured.differences() == [register]
    assert f"{register[0]} PCR {register[1]}" in str(measured)


def test_a_guest_without_a_log_is_an_error() -> None:
    with pytest.raises(VmError, match="no event log"):
        parse_measurements("base64: can't open '/sys/kernel/security/tpm0': No such file\n", FIRMWARE)


def test_a_broken_log_is_an_error() -> None:
    with pytest.raises(MalformedEventLog):
        parse_measurements(base64.encodebytes(RAW[:-3]).decode(), FIRMWARE)


@given(st.text(max_size=300))
def test_whatever_a_guest_prints_instead_of_a_log_is_a_clear_error(text: str) -> None:
    with pytest.raises(LabkitError) as refusal:
        parse_measurements(text, FIRMWARE)
    assert refusal.value.message
