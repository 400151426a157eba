from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.errors import DataError, UsageError
from labkit.measure import parse_log, replay_pcrs, rtmrs
from labkit.measure.event_log import LogEvent
from labkit.measure.event_types import EventType
from labkit.measure.replay import report_log
from tests.measure.logs import SHA256, ccel, event, tcg_log

ZERO = bytes(48)


def fold(*digests: bytes) -> bytes:
    value = ZERO
    for digest in digests:
        value = hashlib.sha384(value + digest).digest()
    return value


def _sha(data: bytes) -> bytes:
    return hashlib.sha384(data).digest()


def test_a_ccel_replays_into_its_four_registers() -> None:
    log = ccel()
    secure_boot = log.events[1].digest()
    assert secure_boot is not None
    assert rtmrs(log) == (
        fold(_sha(b"HOB list"), secure_boot),
        fold(_sha(bytes(4))),
        fold(_sha(b"linux /vmlinuz")),
        fold(_sha(b"\x01\x00\x00\x08:app-id:\x01\x02")),
    )


def test_a_vtpm_log_maps_to_rtmrs_in_log_order() -> None:
    log = tcg_log("quiet")
    values = rtmrs(log)
    assert values[2] == fold(_sha("quiet\0".encode("utf-16-le")), _sha(b"initrd file"))
    assert values[3] == ZERO
    rtmr0 = [event.digest() for event in log.events if event.register in (1, 7)]
    assert values[0] == fold(*[digest for digest in rtmr0 if digest])


def test_only_the_command_line_register_follows_the_command_line() -> None:
    before, after = rtmrs(tcg_log("quiet")), rtmrs(tcg_log("quiet "))
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False, True]


def test_pcrs_replay_in_each_bank() -> None:
    log = tcg_log()
    for name, size in (("sha256", 32), ("sha384", 48)):
        pcrs = replay_pcrs(log, name)
        assert sorted(pcrs) == [0, 1, 2, 3, 4, 5, 6, 7, 9]
        separator = hashlib.new(name, bytes(4)).digest()
        assert pcrs[2] == hashlib.new(name, bytes(size) + separator).digest()
    for log_format in (log, ccel()):
        with pytest.raises(UsageError, match="no PCR bank"):
            replay_pcrs(log_format, "sha1")
    with pytest.raises(UsageError, match="no PCR bank"):
        replay_pcrs(ccel(), "sha384")


def test_pcr_0_starts_from_the_announced_locality() -> None:
    log = tcg_log()
    note = LogEvent(1, 0, EventType.EV_NO_ACTION, log.events[0].digests, b"StartupLocality\0\x03")
    pcrs = replay_pcrs(replace(log, events=(note,)), "sha256")
    assert pcrs == {0: bytes(31) + b"\x03"}


def test_a_log_without_sha384_gives_no_rtmrs() -> None:
    log = tcg_log()
    events = tuple(replace(event, digests=event.digests[:1]) for event in log.events)
    header = replace(log.header, algorithms=((SHA256, 32),))
    with pytest.raises(DataError, match="SHA-384") as caught:
        rtmrs(replace(log, header=header, events=events))
    assert "pcr-banks" in caught.value.remedy


def test_the_report_has_the_keys_of_the_contract() -> None:
    document = report_log(parse_log(ccel(b"\xff" * 30).encode())).to_dict()
    assert document.keys() == {"format", "events", "rtmr", "trailing_bytes"}
    assert document["trailing_bytes"] == 30
    assert document["events"][0].items() >= {"index": 1, "register": "RTMR0"}.items()
    derived = report_log(tcg_log()).to_dict()
    assert derived["derived_from"] == "vtpm"
    assert derived["format"] == "tcg"
    assert derived["events"][3]["pcr"] == 7


def test_the_report_is_shown_with_its_origin_and_its_doubts() -> None:
    log = ccel()
    edited = replace(log.events[1], data=b"<script>alert(1)</script>")
    report = report_log(replace(log, events=(log.events[0], edited)))
    assert "Event 2: its text does not belong to its digest" in str(report)
    assert "<script>" not in report._repr_html_()
    assert report.rtmr[0].hex() in report._repr_html_()
    assert "description</th>" in report._repr_html_()
    assert "hex map" in report._repr_html_()
    assert "vTPM" in str(report_log(tcg_log()))


RTMR_TRUTHS = {
    "baremetal-live/ccel-of-tdreport.bin": (
        "5aca07b1e885e17d1aeaf9d94edb2674767a61547cf8a49f26b73b4a43baeb04d147ba1953310852bbdcb13f0cfcac17",
        "7fc19ed7b5726f078d331c4125a5d4664bcf811bcce0eaa78caa9e3bf4f721091171b51b9af1c497d1c4ac19a4c9af16",
        "4070333e094dec303a5034cc332c969780f9e65e48251331da55f08f8f7d19053444a43d3ff44bd2c97b672527b95e2d",
    ),
    "baremetal-live/ccel-of-quote.bin": (
        "5aca07b1e885e17d1aeaf9d94edb2674767a61547cf8a49f26b73b4a43baeb04d147ba1953310852bbdcb13f0cfcac17",
        "7fc19ed7b5726f078d331c4125a5d4664bcf811bcce0eaa78caa9e3bf4f721091171b51b9af1c497d1c4ac19a4c9af16",
        "35b87e05bb5e6c7db86a1e3f9a5c7fe361741f01c1a3b1f54474ff8f39b38e9295ff142b932720dfc92e59797df081ec",
    ),
    "negatives/ccel-edk2-before-202411.bin": (
        "8566f998798db09443b244c62de9a3041fb02e2e6936c4396d784bba2e90177329ec5aba3bb484404f2ab9cc90abe193",
        "775b9f6bfe99f8a31396f0d0218e67ffa796d3b96ccf961cbb0deba48c79c00f082cda1a5567c1c16305f1fc210c13c6",
        "94eaf7a7bf398ed8d888c91057ae0261802e4f3df084213a76ca7f0b5055ac9d2241de43cd58d9e8b49c503bbf25f34a",
    ),
}


@pytest.mark.data
@pytest.mark.parametrize("name", RTMR_TRUTHS)
def test_real_logs_replay_to_their_hardware_registers(name: str, shared_data: Path) -> None:
    data = (shared_data / "vectors" / name).read_bytes()
    log = parse_log(data)
    assert [value.hex() for value in rtmrs(log)] == [*RTMR_TRUTHS[name], "00" * 48]
    assert log.encode() == data


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "moved"),
    [
        ("ccel-digest-flipped.bin", {1}),
        ("ccel-events-swapped.bin", {0}),
        ("ccel-mrindex-changed.bin", {0, 1}),
        ("ccel-payload-edited.bin", set()),
    ],
)
def test_changed_logs_move_the_right_registers(name: str, moved: set[int], shared_data: Path) -> None:
    log = parse_log((shared_data / "vectors/negatives" / name).read_bytes())
    truth = RTMR_TRUTHS["baremetal-live/ccel-of-quote.bin"]
    values = [value.hex() for value in rtmrs(log)]
    assert {i for i in range(3) if values[i] != truth[i]} == moved
    doubts = [event.index for event in log.events if event.data_check.value == "differs"]
    assert doubts == ([3] if name == "ccel-payload-edited.bin" else [])


@pytest.mark.data
def test_a_truncated_real_log_is_refused(shared_data: Path) -> None:
    with pytest.raises(DataError, match="cut off"):
        parse_log((shared_data / "vectors/negatives/ccel-truncated.bin").read_bytes())


@pytest.mark.parametrize("register", [0])
def test_no_event_of_a_ccel_extends_mrtd_or_any_rtmr_in_its_place(register: int) -> None:
    """Register 0 of a CCEL is MRTD, which nothing can extend: such an event leaves every RTMR as it was."""
    log = replace(ccel(), events=(event(1, register, EventType.EV_SEPARATOR, bytes(4)),))
    assert rtmrs(log) == (bytes(48),) * 4
    assert log.register_name(log.events[0]) == "MRTD"
    assert not log.has_runtime_events
