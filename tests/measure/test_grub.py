"""A boot through GRUB: its configuration, and the events that it must leave, from strings and files alone."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from labkit.errors import UsageError
from labkit.measure import BootInputs, predict
from labkit.measure.boot_options import disc_options, own_options
from labkit.measure.grub import grub_config
from labkit.measure.prediction import Part
from labkit.measure.rules import Rules

LINE = "init=/init console=hvc0 -- sh -l"
KERNEL, INITRD = b"a kernel", b"an initrd"
INPUTS = BootInputs(kernel=KERNEL, initrd=INITRD, command_line=LINE, loader=b"", stub_measures=False)


def sha(data: bytes | str) -> bytes:
    return hashlib.sha384(data if isinstance(data, bytes) else data.encode()).digest()


def read_by_grub(inputs: BootInputs) -> list[bytes | None]:
    """The digests of the events in RTMR2."""
    return [event.digest for event in predict(inputs, Rules.emulated()).events if event.register == 2]


def test_events_are_the_words_and_files_in_grubs_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.measure.prediction.authenticode", lambda image: sha(image))
    config = f"linux /boot/kernel {LINE}\ninitrd /boot/initrd\nboot\n"
    assert grub_config(LINE) == config.encode()
    assert read_by_grub(INPUTS) == [
        sha(config),
        sha(config),
        sha(f"linux /boot/kernel {LINE}"),
        sha(KERNEL),
        sha(f"/boot/kernel {LINE}"),
        sha("initrd /boot/initrd"),
        sha(INITRD),
        sha("boot"),
    ]


def test_a_stub_that_measures_adds_what_grub_hands_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.measure.prediction.authenticode", lambda image: sha(image))
    more = read_by_grub(replace(INPUTS, stub_measures=True))[8:]
    assert more == [sha(f"BOOT_IMAGE=/boot/kernel {LINE}".encode("utf-16-le")), sha(INITRD)]


@pytest.mark.parametrize(
    ("version", "end"), [("2.06-13", ""), ("2.12-9+deb13u4", ""), ("2.14-4", "\0"), ("3.00", "\0")]
)
def test_newer_grub_counts_the_end_of_the_load_options(
    monkeypatch: pytest.MonkeyPatch, version: str, end: str
) -> None:
    monkeypatch.setattr("labkit.measure.prediction.authenticode", lambda image: sha(image))
    loader = b"loaded\0GNU GRUB  version %s\0" + version.encode() + b"\0"
    (line,) = (
        event.digest
        for event in predict(replace(INPUTS, loader=loader, stub_measures=True), Rules.emulated()).events
        if event.part is Part.COMMAND_LINE
    )
    assert line == sha(f"BOOT_IMAGE=/boot/kernel {LINE}{end}".encode("utf-16-le"))


def test_words_that_grub_would_change_are_quoted_or_refused() -> None:
    assert grub_config("a=$b;c {d} x|y #z").startswith(b"linux /boot/kernel 'a=$b;c' '{d}' 'x|y' '#z'\n")
    for line in ("a='b'", 'a="b c"', "a\\b"):
        with pytest.raises(UsageError, match="quotes and backslashes"):
            grub_config(line)


def test_what_is_not_known_is_not_predicted() -> None:
    events = predict(replace(INPUTS, command_line=None, loader=None), Rules.emulated()).events
    assert {event.part for event in events if event.digest is None} <= {Part.KERNEL, Part.COMMAND_LINE}
    unknown = predict(replace(INPUTS, command_line=None, kernel=None, loader=None), Rules.emulated())
    assert unknown.rtmr(1) is None


def test_boot_options_of_a_machine_with_a_disc() -> None:
    """Digests from the event log of a q35 with a CD-ROM drive, OVMF 2022.11, QEMU 7.2."""
    found = [sha(option).hex()[:16] for option in disc_options()]
    assert found == ["23ada07f5261f12f", "480d1c946ae009cb", "f0fb2cdcc47bf204"]


def test_boot_options_of_a_firmware_with_a_set_up() -> None:
    """Digests from event logs of edk2 2026.08 under QEMU 11.1."""
    assert [sha(option).hex()[:16] for option in own_options(set_up=True)] == [
        "5068e6a9ded2a1c3",
        "dd424f2eeb35f3e8",
    ]
    assert [sha(option).hex()[:16] for option in disc_options(set_up=True)[2:]] == [
        "480d1c946ae009cb",
        "af47986215d18083",
    ]
