from __future__ import annotations

import base64
import os
import re
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit import process
from labkit.bootlog.timeline import Timeline
from labkit.errors import NothingMeasured, NotMeasured
from labkit.measure import FirmwareMeasurement, PageOrder, parse_log, replay_pcrs, rtmrs
from labkit.measure.tdvf import Tdvf
from labkit.platforms import Tdvm
from labkit.platforms.measurements import Measurements, no_log
from labkit.platforms.told import parse_told, tell_measurements
from labkit.settings import Trust

FIRMWARE = FirmwareMeasurement("f", Tdvf((), 0, b""), {order: bytes(48) for order in PageOrder})


def event(register: int, digest: bytes) -> bytes:
    digests = struct.pack("<H32sH48s", 0x0B, digest[:32], 0x0C, digest)
    return struct.pack("<III", register, 0x4, 2) + digests + struct.pack("<I", 4) + bytes(4)


def log(*events: bytes) -> bytes:
    algorithms = struct.pack("<IHHHH", 2, 0x0B, 32, 0x0C, 48)
    data = b"Spec ID Event03\0" + struct.pack("<IBBBB", 0, 0, 2, 0, 2) + algorithms + b"\0"
    return struct.pack("<II20sI", 0, 3, bytes(20), len(data)) + data + b"".join(events)


def registers(raw: bytes) -> dict[str, dict[int, bytes]]:
    """What a vTPM holds after the events of ``raw``."""
    log_ = parse_log(raw)
    sizes = {"sha256": 32, "sha384": 48}
    return {
        bank: {number: bytes(size) for number in range(24)} | replay_pcrs(log_, bank)
        for bank, size in sizes.items()
    }


def measured(
    raw: bytes, spoil: tuple[str, int] | None = None, told: tuple[bytes, tuple[str, int] | None] | None = None
) -> Measurements:
    """A boot with the log ``raw``, one register of the vTPM spoilt; told: log and spoilt register shown."""
    pcrs = registers(RAW)
    if spoil:
        pcrs[spoil[0]][spoil[1]] = b"\x55" * len(pcrs[spoil[0]][spoil[1]])
    log_ = parse_log(raw)
    heard = None
    if told is not None:
        shown, wrong = told
        lines = [base64.encodebytes(shown).decode()]
        for bank, values in registers(RAW).items():
            for number, value in values.items():
                text = bytes(len(value)) if (bank, number) == wrong else value
                lines.append(f"{bank} {number} {text.hex().upper()}\n")
        heard = parse_told("".join(lines))
    return Measurements(FIRMWARE, raw, log_, pcrs, rtmrs(log_), "a test", heard)


RAW = log(event(4, b"\x11" * 48), event(9, b"\x22" * 48), event(1, b"\x33" * 48))
SHORT = log(event(4, b"\x11" * 48), event(1, b"\x33" * 48))


def test_a_firmware_that_measures_into_no_tpm_is_told_from_a_log_that_is_lost() -> None:
    # A program of the guest may have extended those above; the firmware's own are 0 to 7.
    unmeasured = {"sha384": {0: bytes(48), 7: bytes(48), 10: b"\x11" * 48}}
    assert "has no driver for one" in no_log(unmeasured).message
    assert "There is no event log" in no_log(registers(RAW)).message


def test_a_boot_that_nothing_was_measured_of_has_a_record_and_no_registers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unmeasured = {bank: {0: bytes(48)} for bank in ("sha256", "sha384")}

    def read(machine: object, firmware: object) -> Measurements:
        raise no_log(unmeasured)

    monkeypatch.setattr("labkit.platforms.measurements.read_measurements", read)
    machine: Any = SimpleNamespace(
        accelerator=SimpleNamespace(kind=SimpleNamespace(value="tcg"), why="it is chosen"),
        resumed=False,
        spec=SimpleNamespace(guest=SimpleNamespace(reseeds=True), to_dict=dict),
        run_dir="/run",
    )
    tdvm = Tdvm(machine, Timeline(()), "emulated", Trust.NONE, "asked for", FIRMWARE)
    shown = tdvm.measured
    assert shown.startswith("MRTD")
    assert "There are no registers to show. The firmware measured nothing into the vTPM" in shown
    document = tdvm.to_dict()
    assert document["rtmr"] is None
    assert document["unmeasured"] in shown
    nobody: Any = SimpleNamespace()
    with pytest.raises(NothingMeasured):
        tdvm.evidence(b"", nobody)


def test_an_honest_log_accounts_for_every_register() -> None:
    found = measured(RAW, told=(RAW, None))
    assert found.replay_matches
    assert found.untruths() == []
    found.check()
    assert [any(value) for value in found.rtmr] == [True, True, True, False]


@pytest.mark.parametrize("register", [("sha256", 4), ("sha384", 9), ("sha384", 1), ("sha256", 15)])
def test_a_register_that_the_log_does_not_explain_is_named(register: tuple[str, int]) -> None:
    found = measured(RAW, spoil=register)
    assert found.differences() == [register]
    assert f"{register[0]} PCR {register[1]}" in str(found)
    with pytest.raises(NotMeasured, match=f"{register[0]} PCR {register[1]}"):
        found.check()


def test_a_log_without_the_events_of_a_register_does_not_account_for_it() -> None:
    assert measured(SHORT).differences() == [("sha256", 9), ("sha384", 9)]


@pytest.mark.parametrize("number", [10, 16, 17, 23])
def test_registers_that_no_firmware_logs_are_left_alone(number: int) -> None:
    assert measured(RAW, spoil=("sha256", number)).replay_matches


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ((SHORT, None), "is not the one in its memory"),
        ((b"", None), "shows no event log"),
        ((RAW, ("sha384", 9)), "sha384 PCR 9"),
        ((RAW, ("sha256", 4)), "sha256 PCR 4"),
    ],
)
def test_what_the_guest_says_otherwise_is_a_finding(
    told: tuple[bytes, tuple[str, int] | None], words: str
) -> None:
    found = measured(RAW, told=told)
    assert found.replay_matches
    assert len(found.untruths()) == 1
    assert words in found.untruths()[0]
    assert words in str(found)
    assert found.to_dict()["guest_differs"] == found.untruths()


@given(st.text(max_size=300))
def test_whatever_a_guest_prints_instead_is_no_register(text: str) -> None:
    told = parse_told(text)
    assert told.pcrs == {"sha256": {}, "sha384": {}}
    assert measured(RAW, told=(b"", None)).untruths()


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_asking_the_guest_takes_no_variable_of_its_shell_and_does_not_end_it(shell: str) -> None:
    """A cell's own ``pcr`` was 23 after ``%attest``."""
    command = tell_measurements(bash=shell == "bash")
    lines = f"pcr=mine bank=mine value=mine\n{command}\necho $pcr $bank $value"
    assert process.run([shell, "-c", lines]).text.endswith("mine mine mine\n")


@pytest.mark.parametrize("end", [b"", b"\0\0", b"a\0b", b"'", b"\n"])
def test_a_log_that_bash_shows_is_the_log_to_its_last_byte(tmp_path: Path, end: bytes) -> None:
    file = tmp_path / "log"
    file.write_bytes(bytes(range(256)) + b"\0 a b\0\0\0caf\xc3\xa9" + end)
    command = re.sub(r"log=\S+", f"log={file}", tell_measurements(bash=True))
    shown = process.run(["bash", "-c", command], env={**os.environ, "LANG": "C.UTF-8"}).text
    assert parse_told(shown).raw_log == file.read_bytes().removesuffix(b"\0")
