"""Each named pattern forgives what it names, on nbval's own terms, and leaves the rest alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labkit.runs.refreshing import read_patterns

TEXT = Path(__file__).with_name("sanitize.cfg").read_text(encoding="utf-8")


def sanitize(text: str) -> str:
    for pattern, replacement in read_patterns(TEXT):
        text = pattern.sub(replacement, text)
    return text


def test_every_section_holds_one_pattern_and_there_are_few() -> None:
    sections = re.findall(r"^\[.+\]\nregex: .+\nreplace: .+$", TEXT, flags=re.MULTILINE)
    assert len(sections) == TEXT.count("\n[") == len(read_patterns(TEXT)) <= 10


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("firmware  0.37 s  ok", "firmware  12.04 s ok"),
        ("MRTD   " + 96 * "a", "MRTD   " + 96 * "b"),
        ("RTMR0: " + 96 * "1", "RTMR0: " + 96 * "2"),
        ("RTMR[2] = " + 12 * "1" + "…", "RTMR[2] = " + 12 * "2" + "…"),
        (
            "<td>RTMR3</td><td><code>" + 96 * "1" + "</code>",
            "<td>RTMR3</td><td><code>" + 96 * "2" + "</code>",
        ),
        ("PCR 11  " + 64 * "1", "PCR 11  " + 64 * "e"),
        ("Linux version 6.1.0-31-cloud-amd64 (gcc)", "Linux version 6.12.41+deb13-amd64 (gcc)"),
        ("Linux (none) 6.1.0 x86_64", "Linux (none) 6.12.1-2 x86_64"),
        ("QEMU 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)", "QEMU 10.0.2"),
        ("QEMU emulator version 7.2.22", "QEMU emulator version 10.0.2"),
        ("swtpm 0.7.1, labkit 0.1.0", "swtpm 0.10.0, labkit 1.2"),
        ("in /home/me/labkit/runs/20260102T030405Z/00-a", "in /srv/x/runs/20260102T030406Z-2/00-a"),
        ("run 20260102T030405Z", "run 20270102T030405Z-3"),
        ("firmware → efi-stub → kernel → init", "firmware → kernel → init"),
        ("firmware  5.33 s\nefi-stub  0.67 s\nkernel    3.47 s", "firmware  46.86 s\nkernel    26.86 s"),
        (
            '<table><tr><td style="a">efi-stub</td><td>0.67 s</td></tr><tr><td style="a">kernel</td></tr>',
            '<table><tr><td style="a">kernel</td></tr>',
        ),
    ],
)
def test_what_is_named_may_differ(one: str, other: str) -> None:
    assert one != other
    assert sanitize(one) == sanitize(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("exit status 7", "exit status 8"),
        ("3 chapters", "4 chapters"),
        ("digest " + 96 * "a", "digest " + 96 * "b"),
        ("RTMR0: " + 96 * "1", "RTMR1: " + 96 * "1"),
        ("MRTD: " + 96 * "1", "MRTD: none"),
        ("READY", "NOT_READY"),
        ("trust none", "trust hardware"),
        ("memory 2048 MiB", "memory 4096 MiB"),
        ("runs on tcg", "runs on kvm"),
        ("QEMU runs as pid 123", "QEMU runs as pid 4567"),
        ("firmware → kernel → init", "kernel → init"),
        ("the efi-stub is a stage", "the kernel is a stage"),
    ],
)
def test_nothing_else_may_differ(one: str, other: str) -> None:
    assert sanitize(one) != sanitize(other)


def test_patterns_are_read_as_nbval_reads_them() -> None:
    plugin = pytest.importorskip("nbval.plugin")
    ours = [(pattern.pattern, replacement) for pattern, replacement in read_patterns(TEXT)]
    assert ours == plugin.get_sanitize_patterns(TEXT)
