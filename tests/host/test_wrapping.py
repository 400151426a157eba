"""Every wrapping that a kernel log comes in: tools, engines, languages; and what must not be taken off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labkit.host import HostReport, diagnose, verify_log
from labkit.host.log import read_log_file
from labkit.host.model import Facts
from labkit.host.wrapping import unwrap

UP = "virt/tdx: module initialized"
MESSAGES = (
    UP,
    "Command line: BOOT_IMAGE=/vmlinuz root=UUID=1 ro kvm_intel.tdx=1",
    "Linux version 7.1.0 (builder@host) #1 SMP Tue Mar 3 10:00:00 UTC 2026",
    "SEAMCALL (0x000000000000001c) failed: 0xc000030000000001 RCX 0x0",
    "KVM: unknown exit, hardware reason e0000091",
)
STAMPED = (
    "[   34.317811] %s",
    "[34.317811] %s",
    "[   34.317811] [  T123] %s",
    "[   34.317811][  C12] %s",
    "<6>[   34.317811] %s",
    "6,512,34317811,-;%s",
    "kern  :info  : [   34.317811] %s",
    "Mar  1 10:00:00 host kernel: [   34.317811] %s",
    "[   34.317811] host kernel: %s",
    "[   34.317811 <    0.000003 >] %s",
    "[   34.317811 <    0.000003 >] host kernel: %s",
    "> [   34.317811] %s",
    ">> > [   34.317811] %s",
    "12:[   34.317811] %s",
    "12-[   34.317811] %s",
    "dmesg.txt:12:[   34.317811] %s",
    "/var/log/kern.log:Mar 01 10:00:00 host kernel: [   34.317811] %s",
    "kern.log-Mar 01 10:00:00 host kernel: [   34.317811] %s",
    "     12\t[   34.317811] %s",
    "   12  [   34.317811] %s",
    "- [   34.317811] %s",
    "+[   34.317811] %s",
    "`[   34.317811] %s`",
    "│ [   34.317811] %s",
    "\t[   34.317811] %s",
    "node-1  | [   34.317811] %s",
    "[pod/node/log] [   34.317811] %s",
    "2026-03-01T10:00:00.123456789Z stdout F [   34.317811] %s",
    "2026-03-01T10:00:00.1234567Z [   34.317811] %s",
    "2026-03-01 10:00:00 [   34.317811] %s",
    "[2026-03-01 10:00:00.123] [   34.317811] %s",
    "[10:00:00] [   34.317811] %s",
    "10:00:00.123 [   34.317811] %s",
    "<6>1 2026-03-01T10:00:00.123Z host kernel - - - [   34.317811] %s",
    "<6>Mar  1 10:00:00 host kernel: [   34.317811] %s",
    "Jan  1 00:00:00 host kern.info kernel: [   34.317811] %s",
    "Sun Mar  1 10:00:00 2026 kern.info kernel: [   34.317811] %s",
    "kernel: [   34.317811] %s",
    "\x1b[32m[   34.317811] \x1b[0m\x1b[33m%s\x1b[0m",
    "^[[32m[   34.317811] ^[[0m%s",
    "[32m[   34.317811] [0m%s",
    "[   34.317811] %s\r",
    "&gt; [   34.317811] %s",
    "  1. [   34.317811] %s",
    "L12: [   34.317811] %s",
    "“[   34.317811] %s”",
    "« [   34.317811] %s »",
    "b'[   34.317811] %s\\n',",
    "| [   34.317811] %s |",
    "<p>[   34.317811] %s<br>",
    "node1: [   34.317811] %s",
    "[node1] out: [   34.317811] %s",
    "10.0.0.1: [   34.317811] %s",
    "./logs/host 1/dmesg.log:12:[   34.317811] %s",
    "C:\\logs\\dmesg.txt:12:[   34.317811] %s",
    "messages-20261028:12:Oct 28 10:00:00 host kernel: [   34.317811] %s",
    "2026-10-28 10:00:00,123 - INFO - [   34.317811] %s",
    "1761695741 [   34.317811] %s",
    "[1761695741.123] [   34.317811] %s",
    'time="2026-10-28T10:00:00Z" level=info msg="[   34.317811] %s"',
    "Oct 28 10:00:00 fe80::1 kernel: [   34.317811] %s",
)
UNSTAMPED = (
    "%s",
    "Mar 01 10:00:00 host kernel: %s",
    "Mar 01 10:00:00.123456 host kernel: %s",
    "Mar 01 10:00:00 kernel: %s",
    "Okt 28 23:55:41 node1 kernel: %s",
    "4月 17 23:55:41 node1 kernel: %s",
    " 4월 17 23:55:41 node1 kernel: %s",
    "févr. 03 23:55:41 node1 kernel: %s",
    "мар 01 10:00:00 host kernel: %s",
    "Thg 3 01 10:00:00 host kernel: %s",
    "ม.ค. 03 10:00:00 host kernel: %s",
    "mié 2026-03-01 10:00:00 CET host kernel: %s",
    "28. Okt 2026 10:00:00 host kernel: %s",
    "[Sun Mar  1 10:00:00 2026] %s",
    "[So Mär  1 10:00:00 2026] %s",
    "[日 3月  1 10:00:00 2026] %s",
    "2026-03-01T10:00:00.123456+01:00 host kernel: %s",
    "2026-03-01T10:00:00+0100 host kernel: %s",
    "2026-03-01T10:00:00,123456+01:00 %s",
    "Sun 2026-03-01 10:00:00 UTC host kernel: %s",
    "1709287200.123456 host kernel: %s",
    "[2026-03-01 10:00:00.123] %s",
    "[  +0.000123] %s",
    "[Mar 1 10:00] %s",
    "12:Okt 28 23:55:41 node1 kernel: %s",
    "> 12:Okt 28 23:55:41 node1 kernel: %s",
    "> Mar 01 10:00:00 host kernel: %s",
    '<6>1 2026-03-01T10:00:00.123Z host kernel - - [meta@1 a="b"] \ufeff%s',
    "1 2026-03-01T10:00:00.123Z host kernel - - - %s",
    "kernel: %s",
)


@pytest.mark.parametrize("wrapping", [*STAMPED, *UNSTAMPED])
def test_every_wrapping_comes_off_and_proves_the_same(wrapping: str) -> None:
    report = verify_log(wrapping.replace("%s", UP) + "\n")
    assert report.verdict == "READY", report.summary


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize(
    "wrapping", [w for w in (*STAMPED, *UNSTAMPED) if "\x1b" not in w and "[32m" not in w]
)
def test_no_message_is_cut(wrapping: str, message: str) -> None:
    entry = unwrap(wrapping.replace("%s", message))
    assert (entry.message, entry.foreign) == (message, False)


@pytest.mark.parametrize("wrapping", STAMPED)
def test_seconds_since_boot_are_read(wrapping: str) -> None:
    report = verify_log(wrapping.replace("%s", UP))
    assert report.facts.log.first_seconds == 34.317811


@pytest.mark.parametrize(
    "line",
    [
        "Mar 01 10:00:00 tdx sshd[99]: > virt/tdx: module initialized",
        "4月 01 10:00:00 tdx sshd: kernel: virt/tdx: module initialized",
        "Okt 01 10:00:00 tdx sshd[99]: virt/tdx: module initialized",
        "Mar 01 10:00:00 sshd[99]: virt/tdx: module initialized",
        "> Mar 01 10:00:00 tdx sshd[99]: virt/tdx: module initialized",
        "12:Mar 01 10:00:00 tdx sshd[99]: [    1.0] virt/tdx: module initialized",
        "<13>Mar  1 10:00:00 host kernel: virt/tdx: module initialized",
        "<14>1 2026-03-01T10:00:00.123Z host app - - - virt/tdx: module initialized",
        "<14>1 2026-03-01T10:00:00.123Z host kernel - - - virt/tdx: module initialized",
        "user  :notice: [    1.0] virt/tdx: module initialized",
        "kernel: sshd: virt/tdx: module initialized",
        "sshd: virt/tdx: module initialized",
        '{"MESSAGE":"virt/tdx: module initialized","_TRANSPORT":"syslog","SYSLOG_IDENTIFIER":"kernel"}',
        '{"MESSAGE":"virt/tdx: module initialized","_TRANSPORT":"stdout","SYSLOG_IDENTIFIER":"sshd"}',
        '{"MESSAGE":"virt/tdx: module initialized","_TRANSPORT":"kernel","SYSLOG_FACILITY":"3"}',
        "level=info msg=virt/tdx: module initialized",
    ],
)
def test_another_programs_line_never_passes_for_the_kernels(line: str) -> None:
    assert verify_log(line + "\n").verdict != "READY"


NAMED = {"MESSAGE": "module initialized", "_TRANSPORT": "syslog", "SYSLOG_IDENTIFIER": "virt/tdx"}


@pytest.mark.parametrize(
    "line",
    [
        "Oct 28 10:00:00 host virt/tdx: module initialized",
        "<14>1 2026-03-01T10:00:00.123Z host virt/tdx - - - module initialized",
        json.dumps(NAMED),
        json.dumps({"program": "virt/tdx", "message": "module initialized"}),
    ],
)
def test_a_program_that_is_called_as_the_kernels_code_does_not_pass_for_it(line: str) -> None:
    report = verify_log(f"{line}\n")
    assert report.verdict != "READY"
    assert any("module initialized" in said for said in (report.summary, *report.remarks)), report


@pytest.mark.parametrize(
    "line",
    [
        f"Oct 28 10:00:00 host dmesg[812]: [    4.7] {UP}",
        f"Oct 28 10:00:00 host klogd: [    4.7] {UP}",
        f"<30>Oct 28 10:00:00 host kernel: {UP}",
        f"[    4.7] {UP} (1.5.06)",
        f"[    4.7] {UP} |",
        "[    4.7] virt/tdx: module initi",
        f"Okt 28 10.00.00 host kernel: {UP}",
        f"2026-10-28T10:00:00Z|info|kernel|{UP}",
    ],
)
def test_a_line_that_proves_nothing_is_shown(line: str) -> None:
    report = verify_log(f"{line}\n")
    assert report.verdict != "READY"
    assert any("module init" in said for said in (report.summary, *report.remarks)), report


def test_levels_before_the_kernels_words() -> None:
    for level in ("info", "INFO", "Notice", "warn"):
        assert verify_log(f"Oct 28 10:00:00 host kernel: {level}: {UP}\n").verdict == "READY"


START = "virt/tdx: BIOS enabled: private KeyID range [64, 128)"
NOT_LOADED = "virt/tdx: module not loaded"


@pytest.mark.parametrize(
    "wrapping",
    [
        "Oct 28 10:00:00 {} kernel: %s",
        "{}: [    4.7] %s",
        "{}/dmesg.log:12:[    4.7] %s",
        "{}  | [    4.7] %s",
        "<6>1 2026-03-01T10:00:00.123Z {} kernel - - - [    4.7] %s",
        '{{"_HOSTNAME":"{}","_TRANSPORT":"kernel","MESSAGE":"%s"}}',
    ],
)
def test_one_machines_success_proves_nothing_about_another(wrapping: str) -> None:
    lines = (("node1", START), ("node1", NOT_LOADED), ("node2", START), ("node2", UP))
    report = verify_log("".join(wrapping.format(at).replace("%s", said) + "\n" for at, said in lines))
    assert (report.verdict, report.reason) == ("INDETERMINATE", "LOG_UNREADABLE")
    assert "node1" in report.summary
    assert "node2" in report.summary
    assert "grep" in (report.next_action or "")


def test_machines_that_tell_the_same_are_read() -> None:
    lines = [f"Oct 28 10:00:00 {at} kernel: {said}\n" for at in ("node1", "node2") for said in (START, UP)]
    assert verify_log("".join(lines)).verdict == "READY"


def test_a_machine_that_learns_its_name_is_one_machine() -> None:
    early = f"Oct 28 10:00:00 localhost kernel: {START}\n"
    assert verify_log(f"{early}Oct 28 10:00:09 node1.example.com kernel: {UP}\n").verdict == "READY"
    assert verify_log(f"{early}Oct 28 10:00:09 node1 kernel: {NOT_LOADED}\n").reason == "MODULE_NOT_LOADED"


@pytest.mark.parametrize("stamp", ["", "[    4.{}00000] "])
def test_boots_are_told_apart_in_what_grep_left(stamp: str) -> None:
    def log(*messages: str) -> str:
        stamps = (stamp.format(number) for number in range(1, 9))
        return "".join(
            f"Oct 28 10:00:00 h kernel: {at}{said}\n" for at, said in zip(stamps, messages, strict=False)
        )

    for messages, reason in (
        ((START, UP, START, NOT_LOADED), "MODULE_NOT_LOADED"),
        ((START, UP, "virt/tdx: not enabled by BIOS"), "BIOS_NOT_ENABLED"),
        ((START, NOT_LOADED, START, UP), None),
        ((START, UP, START), "INIT_NOT_CONFIRMED"),
    ):
        report = verify_log(log(*messages))
        assert (report.reason, report.facts.log.boots) == (reason, 2), messages


def test_a_log_given_twice_is_one_boot() -> None:
    once = f"[    1.1] {START}\n[    9.2] {UP}\n"
    report = verify_log(once + once)
    assert (report.verdict, report.facts.log.boots) == ("READY", 1)


def test_words_in_an_unknown_wrapping_are_said_with_their_line() -> None:
    report = verify_log("node1%%9%%virt/tdx: module initialized\nnode1%%9%%virt/tdx: module not loaded\n")
    assert (report.verdict, report.reason) == ("INDETERMINATE", "NO_INIT_LINES")
    assert "node1%%9%%virt/tdx: module initialized" in report.summary
    assert "wrapping" in report.summary
    assert "sed" in (report.next_action or "")
    assert [line.text for line in report.facts.log.unread][1].endswith("module not loaded")


def test_a_line_that_only_speaks_of_tdx_is_not_said() -> None:
    log = verify_log("[    9.0] audit: msg=virt/tdx: module initialized\nfoo tdx-1 bar\n").facts.log
    assert log.unread == ()


def test_unread_lines_beside_a_verdict_are_a_remark() -> None:
    report = verify_log(f"[    1.0] {UP}\nnode1%%virt/tdx: module not loaded\n")
    assert report.verdict == "READY"
    assert any("node1%%virt/tdx: module not loaded" in remark for remark in report.remarks)


JOURNAL = {
    "MESSAGE": UP,
    "_TRANSPORT": "kernel",
    "SYSLOG_IDENTIFIER": "kernel",
    "_SOURCE_MONOTONIC_TIMESTAMP": "34317811",
}
OTHER = {"MESSAGE": "virt/tdx: module not loaded", "_TRANSPORT": "stdout", "SYSLOG_IDENTIFIER": "sshd"}


def _export(entry: dict[str, str]) -> str:
    return "__CURSOR=s=1;i=2\n" + "".join(f"{key}={value}\n" for key, value in entry.items())


def _verbose(entry: dict[str, str]) -> str:
    head = "Sun 2026-03-01 10:00:00.123456 UTC [s=0a1b2c;i=1;b=2;m=3;t=4;x=5]\n"
    return head + "".join(f"    {key}={value}\n" for key, value in entry.items())


DOCUMENTS: dict[str, bytes] = {
    "json": "\n".join(json.dumps(entry) for entry in (JOURNAL, OTHER)).encode(),
    "json-bytes": json.dumps({**JOURNAL, "MESSAGE": list(UP.encode())}).encode(),
    "json-pretty": "\n".join(json.dumps(entry, indent="\t") for entry in (JOURNAL, OTHER)).encode(),
    "export": (_export(JOURNAL) + "\n" + _export(OTHER)).encode(),
    "export of chosen fields": (_export(JOURNAL) + "\n" + _export(OTHER))
    .replace("__CURSOR=s=1;i=2\n", "")
    .encode(),
    "verbose": (_verbose(JOURNAL) + _verbose(OTHER)).encode(),
    "dmesg": json.dumps(
        {
            "dmesg": [
                {"pri": 6, "time": 34.317811, "msg": UP},
                {"pri": 12, "time": 40.0, "msg": "virt/tdx: module not loaded"},
                {"fac": "user", "pri": "notice", "time": 41.0, "msg": "virt/tdx: module not loaded"},
            ]
        },
        indent=3,
    ).encode(),
    "docker": json.dumps({"log": f"[   34.317811] {UP}\n", "stream": "stdout", "time": "2026"}).encode(),
    "frames of RFC 6587": b"".join(
        b"%d %s" % (len(entry), entry)
        for entry in (
            f"<6>1 - h1 kernel - - - [   34.317811] {UP}".encode(),
            b"<14>1 - h1 sshd 99 - - virt/tdx: module not loaded",
        )
    ),
    "asciinema": b'{"version": 2, "width": 180, "height": 50}\n'
    + "\n".join(
        json.dumps(event)
        for event in ([0.1, "o", "[   34.3178"], [0.2, "i", "x"], [0.3, "o", f"11] {UP}\r\n"])
    ).encode(),
    "utf-16": f"[   34.317811] {UP}\r\n".encode("utf-16"),
    "utf-8 with a mark": b"\xef\xbb\xbf" + f"[   34.317811] {UP}\r\n".encode(),
}


def _of_file(path: Path, data: bytes) -> HostReport:
    path.write_bytes(data)
    return diagnose(Facts(log=read_log_file(path, "log")))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_read_as_its_messages(name: str, tmp_path: Path) -> None:
    report = _of_file(tmp_path / "log", DOCUMENTS[name])
    assert report.verdict == "READY"
    assert report.facts.log.first_seconds == 34.317811
    assert [line.text for line in report.facts.log.lines] == [UP]


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("cut", [1, 7, 40, 90])
def test_half_a_document_never_breaks_and_never_proves_more(name: str, cut: int, tmp_path: Path) -> None:
    report = _of_file(tmp_path / "log", DOCUMENTS[name][:-cut])
    assert str(report)
    assert report.verdict != "READY" or [line.text for line in report.facts.log.lines] == [UP]


def test_two_boots_in_the_users_language_are_two_boots() -> None:
    boot = (
        "Mär 0{day} 10:00:00 host kernel: Linux version 6.17.0-8-generic\nMär 0{day} 10:00:01 host "
        "kernel: {text}\n"
    )
    text = boot.format(day=1, text=UP) + boot.format(day=2, text="virt/tdx: module not loaded")
    report = verify_log(text)
    assert report.reason == "MODULE_NOT_LOADED"
    assert report.facts.log.boots == 2
