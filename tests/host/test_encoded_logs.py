"""A log that was folded, encoded or dumped is read where that is sound, else it is named."""

from __future__ import annotations

import base64
import binascii
import gzip
import html
import io
import json
import quopri
import textwrap
from collections.abc import Callable
from email.message import EmailMessage
from functools import partial
from urllib.parse import quote, quote_plus

import pytest

from labkit.host import HostReport, diagnose
from labkit.host.log import read_log
from labkit.host.model import Facts

UP = "virt/tdx: module initialized"
START = "virt/tdx: BIOS enabled: private KeyID range [64, 128)"
HIBERNATION = "virt/tdx: initialization failed: Hibernation support is enabled"
VERSION = (
    "Linux version 6.17.0-8-generic (buildd@lcy02-amd64-027) (x86_64-linux-gnu-gcc-15 (Ubuntu "
    "15.2.0-4ubuntu4) 15.2.0, GNU ld (GNU Binutils for Ubuntu) 2.45) #8-Ubuntu SMP PREEMPT_DYNAMIC "
    "Fri Nov 14 21:44:46 UTC 2025"
)
CMDLINE = (
    "Command line: BOOT_IMAGE=/boot/vmlinuz-6.17.0-8-generic root=UUID=3d1a1c1e-7a2c-4f64-9f0e-0a8ad0d0d1aa "
    "ro nohibernate kvm_intel.tdx=1 console=ttyS0,115200n8"
)
LOGS = {
    "READY": (VERSION, CMDLINE, START, UP),
    "hibernation": (VERSION, CMDLINE, START, HIBERNATION),
    "BIOS": (VERSION, CMDLINE, START, "virt/tdx: [Firmware Bug]: not enabled by BIOS"),
    "SEAMCALL": (
        VERSION,
        CMDLINE,
        START,
        "virt/tdx: SEAMCALL (0x0000000000000021) failed: 0xc000050700000000",
    ),
    "KVM": (VERSION, CMDLINE, START, "kvm_intel: tdx: tdx requires kvm.enable_virt_at_load=1"),
    "unconfirmed": (VERSION, CMDLINE, START),
}


def dmesg(lines: tuple[str, ...]) -> str:
    return "".join(f"[{number:12.6f}] {line}\n" for number, line in enumerate(lines))


def journal(lines: tuple[str, ...]) -> str:
    name = "tdx-host-ams-017.lab.example.net"
    return "".join(f"Mar 01 10:00:{number:02} {name} kernel: {line}\n" for number, line in enumerate(lines))


def judged(data: bytes | str) -> HostReport:
    raw = data.encode() if isinstance(data, str) else data
    return diagnose(Facts(log=read_log(io.BytesIO(raw), "log")))


def hard(text: str, width: int) -> str:
    """As ``fold`` and a terminal do it."""
    return "\n".join(
        line[place : place + width]
        for line in text.splitlines()
        for place in range(0, max(len(line), 1), width)
    )


def soft(text: str, width: int, indent: str = "", before: str = "") -> str:
    """As a mail program does it."""
    return "\n".join(
        part
        for line in text.splitlines()
        for part in textwrap.wrap(before + line, width, subsequent_indent=indent, break_on_hyphens=False)
    )


def kept(text: str, width: int) -> str:
    """As ``fold -s``: the space stays at the end of the line."""
    out = []
    for line in text.splitlines():
        while len(line) > width:
            place = line.rfind(" ", 0, width) + 1 or width
            out.append(line[:place])
            line = line[place:]
        out.append(line)
    return "\n".join(out)


def mail(text: str, encoding: str) -> bytes:
    message = EmailMessage()
    message["From"], message["Subject"] = "a@example.org", "TDX does not start"
    message.set_content(f"Hello,\n\n{text}\n\nRegards\n", cte=encoding)
    return message.as_bytes()


def mailed_page(text: str) -> bytes:
    message = EmailMessage()
    message.set_content(f"<html><body><pre>{html.escape(text)}</pre></body></html>", subtype="html")
    return message.as_bytes()


def attached(text: str) -> bytes:
    message = EmailMessage()
    message["From"], message["Subject"] = "a@example.org", "TDX does not start"
    message.set_content("see the file\n")
    packed = gzip.compress(text.encode())
    message.add_attachment(packed, maintype="application", subtype="gzip", filename="dmesg.gz")
    return message.as_bytes()


def xxd(text: str, row: str = "{offset:08x}: {pairs}  {shown}", group: int = 2, bar: str = "") -> str:
    data, rows = text.encode(), []
    for offset in range(0, len(data), 16):
        part = data[offset : offset + 16]
        pairs = " ".join(part[place : place + group].hex() for place in range(0, len(part), group))
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        rows.append(
            row.format(offset=offset, pairs=pairs.ljust(47 if group == 1 else 39), shown=bar + shown + bar)
        )
    return "\n".join(rows) + "\n"


def words(text: str, form: str) -> str:
    """``hexdump`` and ``od`` without options: words of two bytes."""
    data, rows = text.encode(), []
    for offset in range(0, len(data), 16):
        part = data[offset : offset + 16]
        pairs = [int.from_bytes(part[place : place + 2], "little") for place in range(0, len(part), 2)]
        rows.append(f"{offset:07{form[-1]}} " + " ".join(format(pair, form) for pair in pairs))
    return "\n".join(rows) + "\n"


def uuencoded(text: str) -> bytes:
    data = text.encode()
    rows = (binascii.b2a_uu(data[place : place + 45]) for place in range(0, len(data), 45))
    return b"begin 644 dmesg\n" + b"".join(rows) + b"`\nend\n"


ENCODED: dict[str, Callable[[str], bytes | str]] = {
    **{f"fold -w {width}": partial(hard, width=width) for width in (60, 72, 80, 120)},
    **{f"fold -s -w {width}": partial(kept, width=width) for width in (72, 80, 100)},
    **{f"wrapped at {width}": partial(soft, width=width) for width in (65, 72, 78)},
    "wrapped, indented": lambda text: soft(text, 76, indent="    "),
    "a quoted mail, wrapped": lambda text: soft(text, 76, before="> ", indent="> "),
    "quoted, then wrapped": lambda text: soft(text, 72, before="> "),
    "quoted-printable": lambda text: quopri.encodestring(text.encode()),
    "quoted-printable of Windows": lambda text: quopri.encodestring(text.encode()).replace(b"\n", b"\r\n"),
    "base64": lambda text: base64.encodebytes(text.encode()),
    "base64 in a line": lambda text: base64.b64encode(text.encode()),
    "base64 of gzip": lambda text: base64.encodebytes(gzip.compress(text.encode())),
    "base64 of UTF-16": lambda text: base64.encodebytes(text.encode("utf-16")),
    "uuencode": uuencoded,
    "hexadecimal": lambda text: text.encode().hex(),
    "xxd": xxd,
    "hexdump -C": lambda text: xxd(text, "{offset:08x}  {pairs}  {shown}", 1, "|"),
    "od -t x1z": lambda text: xxd(text, "{offset:06x} {pairs}  {shown}", 1, ">"),
    "hexdump": lambda text: words(text, "04x"),
    "od": lambda text: words(text, "06o"),
    "a mail": lambda text: mail(text, "7bit"),
    "a mail in quoted-printable": lambda text: mail(text, "quoted-printable"),
    "a mail in base64": lambda text: mail(text, "base64"),
    "a mail that is only a page": mailed_page,
    "a mail with the log attached": attached,
    "a page": lambda text: f"<html><body><pre>{html.escape(text)}</pre></body></html>",
    "breaks": lambda text: html.escape(text).replace("\n", "<br>\n"),
    "breaks in a line": lambda text: html.escape(text).replace("\n", "<br />"),
    "spaces of a page": lambda text: html.escape(text).replace(" ", "&nbsp;").replace("\n", "<br>\n"),
    "brackets as entities": lambda text: text.replace("[", "&#91;").replace("]", "&#93;"),
    "an address": quote,
    "a form": quote_plus,
    "a literal": repr,
    "a literal of bytes": lambda text: repr(text.encode()),
    "a numbered table": lambda text: "".join(
        f"| {number} | {line} |\n" for number, line in enumerate(text.splitlines())
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENCODED)
def test_what_is_encoded_is_read(name: str) -> None:
    for stamps in (dmesg, journal):
        for label, lines in LOGS.items():
            text = stamps(lines)
            plain, report = judged(text), judged(ENCODED[name](text))
            assert (report.verdict, report.reason) == (plain.verdict, plain.reason), (stamps.__name__, label)


def test_a_command_line_that_was_folded_is_whole() -> None:
    for form in ("fold -w 72", "fold -s -w 80", "wrapped at 72"):
        report = judged(ENCODED[form](dmesg(LOGS["READY"])))
        assert CMDLINE in [line.text for line in report.facts.log.lines], form


@pytest.mark.parametrize("width", range(8, 70))
def test_lines_that_were_cut_prove_nothing_wrong(width: int) -> None:
    """A cut log has the plain one's verdict, or none."""
    for mark in ("", ">", "…"):
        for label, lines in LOGS.items():
            text = dmesg(lines)
            cut = "\n".join(line[:width] + mark if len(line) > width else line for line in text.splitlines())
            plain, report = judged(text), judged(cut)
            same = (report.verdict, report.reason) == (plain.verdict, plain.reason)
            assert same or report.verdict == "INDETERMINATE", (label, mark, report.summary)


@pytest.mark.parametrize(
    "line",
    [
        "virt/tdx: modu1e initia1ized",
        "virt/tdx: module inltialized",
        "vlrt/tdx: module initialized",
        "virt /tdx: module initialized",
        "virt/tdx: rnodule initialized",
        "VIRT/TDX: MODULE INITIALIZED",
        "virt/tdx:  module initialized",
    ],
)
def test_what_was_read_from_a_picture_is_said_and_not_believed(line: str) -> None:
    report = judged(f"[    1.100000] {START}\n[    8.000000] {line}\n")
    assert (report.verdict, report.reason) == ("INDETERMINATE", "LOG_UNREADABLE")
    assert line in report.summary
    assert "picture" in (report.next_action or "")


def test_a_programs_folded_line_is_not_the_kernels() -> None:
    """The rest of a program's line stands at the beginning of a line, as a kernel's may."""
    words = "a line of a program, which is as long as the screen is wide and goes on with "
    line = f"Mar 01 10:00:00 host sshd[9]: {words}".ljust(80, "x")[:80]
    report = judged(f"Mar 01 09:00:00 host kernel: {START}\n{line}\n{UP}\n{line}\n{UP}\n")
    assert report.verdict != "READY"


def test_a_programs_break_begins_no_line() -> None:
    line = f"Mar 01 10:00:00 host nginx[9]: <br>{UP} &#10;{UP}\n"
    assert judged(f"Mar 01 09:00:00 host kernel: {START}\n{line}{line}").verdict != "READY"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (base64.encodebytes(bytes(range(256)) * 8), "base64"),
        (
            b"".join(b"%07o   [                   0   .   0   0   0   0\n" % (16 * n) for n in range(9)),
            "dump",
        ),
        (base64.encodebytes(gzip.compress(UP.encode() * 90, mtime=0)[:-20]), "damaged"),
    ],
)
def test_what_cannot_be_read_is_named(data: bytes, said: str) -> None:
    report = judged(data)
    assert (report.verdict, report.reason) == ("INDETERMINATE", "LOG_UNREADABLE")
    assert said in report.summary


@pytest.mark.parametrize(
    "behind",
    [
        "root@host:~# ",
        "-- \nRegards",
        "\nthat is all that it says about tdx, and I do not know what to do now",
    ],
)
def test_what_follows_a_log_is_not_the_rest_of_a_line(behind: str) -> None:
    assert judged(f"{dmesg(LOGS['READY'])}{behind}\n").verdict == "READY"
    assert judged(f"[    8.084186] {UP}\n{behind}\n").verdict == "READY"


def test_a_mail_of_nothing_but_parts_is_named() -> None:
    parts = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(5_000))
    report = judged(f"MIME-Version: 1.0\n{parts}Content-Type: text/plain\n\n{UP}\n")
    assert (report.verdict, report.reason) == ("INDETERMINATE", "LOG_UNREADABLE")
    assert "nested too deeply" in report.summary


def test_json_of_more_objects_than_a_log_has_entries_is_not_walked() -> None:
    entry = json.dumps({"msg": dmesg(LOGS["READY"])}).encode()
    few, many = (b"[" + b'{"a":0},' * count + entry + b"]" for count in (10, 300_001))
    assert any(line.text == UP for line in read_log(io.BytesIO(few), "log").lines)
    assert not any(line.text == UP for line in read_log(io.BytesIO(many), "log").lines)


@pytest.mark.parametrize(("depth", "read"), [(12, True), (13, False)])
def test_json_is_walked_to_a_depth(depth: int, read: bool) -> None:
    value: object = f"[   34.317811] {UP}"
    for _ in range(depth):
        value = {"a": value}
    assert (judged(json.dumps(value, indent=1)).verdict == "READY") is read
