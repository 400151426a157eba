"""A log in any wrapping has the plain log's verdict, or labkit says which line it did not understand."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import shlex
from pathlib import Path
from random import Random

import pytest

from labkit.host import HostReport, diagnose
from labkit.host.log import read_log, read_log_file
from labkit.host.model import Facts, LogState
from labkit.host.wrapping import unwrap
from tests.host.wrappings import AROUND, DOCUMENTS, STAMPS, Line, around, stamped

UP = "virt/tdx: module initialized"
START = "virt/tdx: BIOS enabled: private KeyID range [64, 128)"
LOGS: dict[str, tuple[Line, ...]] = {
    "READY": (
        (0.0, "Linux version 6.17.0-8-generic (b@h) #8-Ubuntu SMP"),
        (0.0, "Command line: BOOT_IMAGE=/vmlinuz-6.17.0-8-generic ro kvm_intel.tdx=1"),
        (1.261243, START),
        (8.08418, "virt/tdx: 1050636 KB allocated for PAMT"),
        (8.084186, UP),
    ),
    "READY of 5.19": (
        (0.5, "tdx: BIOS enabled: private KeyID range [1, 64)"),
        (9.1, "tdx: TDX module initialized."),
    ),
    "BIOS": ((1.2, START), (1.3, "virt/tdx: not enabled by BIOS")),
    "not loaded": ((1.2, START), (2.3, "virt/tdx: module not loaded")),
    "unconfirmed": ((1.2, START),),
    "old kernel": ((0.0, "Linux version 6.8.0-101-generic"), (0.1, "Command line: BOOT_IMAGE=/v ro")),
    "guest": ((0.0, "tdx: Guest detected"), (0.3, "process: using TDX aware idle routine")),
    "no TME": ((0.160578, "x86/tme: not enabled by BIOS"),),
}  # fmt: skip


def judged(text: str | bytes) -> HostReport:
    data = text.encode() if isinstance(text, str) else text
    return diagnose(Facts(log=read_log(io.BytesIO(data), "log")))


PLAIN = {name: judged("\n".join(stamped(STAMPS["dmesg"], lines))) for name, lines in LOGS.items()}


def same_or_said(name: str, text: str | bytes) -> None:
    """The property. Nothing may be proved that the plain log does not prove."""
    report, plain = judged(text), PLAIN[name]
    if (report.verdict, report.reason) == (plain.verdict, plain.reason):
        return
    assert report.verdict != "READY", text
    said = " ".join((report.summary, *report.remarks))
    assert "wrapping" in said, (name, text, report.summary)
    assert any(line.text in said for line in report.facts.log.unread), said


@pytest.mark.parametrize("name", LOGS)
def test_every_stamp(name: str) -> None:
    for template in STAMPS.values():
        same_or_said(name, "\n".join(stamped(template, LOGS[name])) + "\n")


@pytest.mark.parametrize("name", LOGS)
def test_everything_around(name: str) -> None:
    for stamp in ("dmesg", "syslog"):
        for template in AROUND.values():
            same_or_said(name, "\n".join(around(template, stamped(STAMPS[stamp], LOGS[name]))) + "\n")


@pytest.mark.parametrize("name", LOGS)
def test_every_document(name: str) -> None:
    for document in DOCUMENTS.values():
        same_or_said(name, document(LOGS[name]))


def test_wrappings_of_wrappings() -> None:
    random = Random(13)
    for _ in range(500):
        name, stamp = random.choice(list(LOGS)), random.choice(list(STAMPS.values()))
        inner, outer = random.choice(list(AROUND.values())), random.choice(list(AROUND.values()))
        report = judged("\n".join(around(outer, around(inner, stamped(stamp, LOGS[name])))))
        assert report.verdict != "READY" or PLAIN[name].verdict == "READY", (name, stamp, inner, outer)


UNDERSTOOD = (
    *(name for name in STAMPS if name not in ("metalog", "Xen", "ftrace", "logcat")),
    *("BuildKit", "BuildKit with time", "ts -r", "ts -i .", "gh run view", "GitLab", "svlogd", "multilog"),
    *("compact", "rg", "pssh", "docker logs -t", "kubectl --prefix --timestamps", "colour of rsyslog", "vi"),
    *("a spinner", "a corrected word", "no width", "serial over LAN", "bold"),
    *("a logger of Rust's", "Windows twice", "CSV", "CSV without marks", "Loki"),
    *("fence", "Terraform"),
    *(name for name in DOCUMENTS if name not in ("one line", "ends of line written out", "breaks")),
)  # fmt: skip


@pytest.mark.parametrize("wrapping", UNDERSTOOD)
def test_common_wrappings_are_understood(wrapping: str) -> None:
    lines = LOGS["READY"]
    if wrapping in DOCUMENTS:
        assert judged(DOCUMENTS[wrapping](lines)).verdict == "READY"
    elif wrapping in STAMPS:
        assert judged("\n".join(stamped(STAMPS[wrapping], lines))).verdict == "READY"
    else:
        assert judged("\n".join(around(AROUND[wrapping], stamped(STAMPS["dmesg"], lines)))).verdict == "READY"


@pytest.mark.parametrize(
    "entry",
    [
        {"program": "sshd", "message": UP},
        {"ident": "sshd", "log": f"[    4.7] {UP}\n"},
        {"process": {"name": "sshd"}, "message": UP},
        {"appname": "sshd", "msg": UP},
    ],
)
def test_a_collected_line_of_another_program_proves_nothing(entry: dict[str, object]) -> None:
    assert judged(json.dumps(entry)).verdict != "READY"
    assert judged(json.dumps([entry, entry], indent=1)).verdict != "READY"


def test_a_backspace_does_not_take_a_programs_name_away() -> None:
    name = "Mar 01 10:00:00 tdx sshd[99]: "
    assert judged(f"{name}{chr(8) * len(name)}[    4.7] {UP}\n").verdict != "READY"


def test_the_release_is_no_file_name() -> None:
    for indent in ("", "    ", "1772359200.000000 "):
        assert unwrap(f"{indent}Linux version 6.8.0-101-generic").message == "Linux version 6.8.0-101-generic"


def test_a_log_whose_lines_run_backwards_is_said() -> None:
    lines = stamped(STAMPS["dmesg"], LOGS["READY"])
    report = judged("\n".join(reversed(lines)))
    assert (report.verdict, report.reason) == ("INDETERMINATE", "LOG_UNREADABLE")
    assert "tac" in report.summary


def test_a_log_of_comments_is_not_called_empty() -> None:
    report = judged(f"# [    4.7] {UP}\n")
    assert report.verdict == "INDETERMINATE"
    assert f"# [    4.7] {UP}" in report.summary


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_compressed_logs_are_read_and_damaged_ones_named(module: object, tmp_path: Path) -> None:
    data = module.compress(f"[    4.7] {UP}\n".encode())  # type: ignore[attr-defined]
    path = tmp_path / "log"
    path.write_bytes(data)
    assert diagnose(Facts(log=read_log_file(path, "log"))).verdict == "READY"
    path.write_bytes(data[:-6])
    report = diagnose(Facts(log=read_log_file(path, "kern.log.2")))
    assert report.verdict != "READY"
    path.write_bytes(data[:12] + b"garbage" * 9)
    report = diagnose(Facts(log=read_log_file(path, "kern.log.2")))
    assert (report.reason, "kern.log.2" in report.summary) == ("LOG_UNREADABLE", True)
    assert "damaged" in report.summary
    assert "login" not in report.summary


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"LPKSHHRH" + bytes(40), "journalctl --file"),
        (b"PK\x03\x04" + bytes(40), "zip"),
        (b"\x04\x22\x4d\x18" + bytes(40), "lz4 -dc"),
        (Random(3).randbytes(2000), "not text"),
    ],
)
def test_what_is_no_text_is_named(data: bytes, word: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(data)
    log = read_log_file(tmp_path / "log", "log")
    assert (log.state, word in log.why) == (LogState.UNREADABLE, True)
    assert word in diagnose(Facts(log=log)).summary


def test_a_machines_name_is_no_command() -> None:
    lines = ((f"a';id;'{number}", words) for number, words in ((1, UP), (2, "virt/tdx: module not loaded")))
    report = judged("".join(f"Oct 28 10:00:00 {name} kernel: {words}\n" for name, words in lines))
    assert report.reason == "LOG_UNREADABLE"
    asked = (report.next_action or "").partition("`")[2].partition(" LOG ")[0]
    assert shlex.split(asked)[-1] == "a';id;'1"
