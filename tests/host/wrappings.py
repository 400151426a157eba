"""What tools put around a kernel's lines: stamps, what is put around a whole line, and whole documents.

In the templates ``s`` is seconds since boot, ``u`` the same in microseconds, ``t`` the wall clock, ``m`` the
kernel's words, ``l`` a line of the kernel's log, ``n`` its number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

_BEGIN = datetime(2026, 3, 1, 10, 0, 0, tzinfo=UTC)

Line = tuple[float, str]

STAMPS: dict[str, str] = {
    "dmesg": "[{s:12.6f}] {m}",
    "vmcore-dmesg": "[{s:.6f}] {m}",
    "thread": "[{s:12.6f}][    T0] {m}",
    "thread apart": "[{s:12.6f}] [  T123] {m}",
    "CPU": "[{s:12.6f}][   C12] {m}",
    "thread and CPU": "[{s:12.6f}][ T123/C0] {m}",
    "process id": "[{s:12.6f}][    1] {m}",
    "task": "[{s:12.6f}] [swapper/0(0)] {m}",
    "thread in words": "[{s:12.6f}] T1: {m}",
    "thread before": "T1: [{s:12.6f}] {m}",
    "CPU in words": "[{s:12.6f}] CPU0: {m}",
    "CPU before": "CPU0: [{s:12.6f}] {m}",
    "two brackets": "[[{s:12.6f}] {m}",
    "two brackets closed": "[[{s:12.6f}]] {m}",
    "dmesg -r": "<6>[{s:12.6f}] {m}",
    "dmesg -r, thread": "<6>[{s:12.6f}][    T1] {m}",
    "/dev/kmsg": "6,339,{u},-;{m}",
    "/dev/kmsg, thread": "6,339,{u},-,caller=T1;{m}",
    "netconsole": "6.17.0-8-generic,6,339,{u},-;{m}",
    "dmesg -t": "{m}",
    "dmesg -x": "kern  :info  : [{s:12.6f}] {m}",
    "dmesg -x -T": "kern  :info  : [{t:%a %b %e %H:%M:%S %Y}] {m}",
    "dmesg -x -t": "kern  :info  : {m}",
    "dmesg -x iso": "kern  :info  : {t:%Y-%m-%dT%H:%M:%S,%f}+00:00 {m}",
    "dmesg -T": "[{t:%a %b %e %H:%M:%S %Y}] {m}",
    "dmesg iso": "{t:%Y-%m-%dT%H:%M:%S,%f}+00:00 {m}",
    "dmesg -d": "[{s:12.6f} <    0.000123>] {m}",
    "dmesg delta": "[<    0.000123>] {m}",
    "dmesg -H": "[  +0.000123] {m}",
    "dmesg -L": "\x1b[32m[{s:12.6f}] \x1b[0m\x1b[33m{m}\x1b[0m",
    "journal short": "{t:%b %d %H:%M:%S} host kernel: {m}",
    "journal full": "{t:%a %Y-%m-%d %H:%M:%S} UTC host kernel: {m}",
    "journal precise": "{t:%b %d %H:%M:%S.%f} host kernel: {m}",
    "journal iso": "{t:%Y-%m-%dT%H:%M:%S}+0000 host kernel: {m}",
    "journal iso-precise": "{t:%Y-%m-%dT%H:%M:%S.%f}+00:00 host kernel: {m}",
    "journal monotonic": "[{s:12.6f}] host kernel: {m}",
    "journal delta": "[{s:12.6f} <    0.000100 >] host kernel: {m}",
    "journal unix": "1772359200.123456 host kernel: {m}",
    "journal --no-hostname": "{t:%b %d %H:%M:%S} kernel: {m}",
    "syslog": "{t:%b %e %H:%M:%S} host kernel: [{s:12.6f}] {m}",
    "syslog with priority": "<6>{t:%b %e %H:%M:%S} host kernel: [{s:12.6f}] {m}",
    "rsyslog": "{t:%Y-%m-%dT%H:%M:%S.%f}+00:00 host kernel: [{s:12.6f}] {m}",
    "RFC 5424": "<6>1 {t:%Y-%m-%dT%H:%M:%S.%f}Z host kernel - - - [{s:12.6f}] {m}",
    "RFC 5424 with data": '<6>1 {t:%Y-%m-%dT%H:%M:%S}Z host kernel - ID47 [x@1 a="b\\]c"] \ufeff{m}',
    "RFC 5424 without time": "<6>1 - host kernel - - - {m}",
    "RFC 6587": "99 <6>1 {t:%Y-%m-%dT%H:%M:%S.%f}Z host kernel - - - {m}",
    "busybox": "{t:%b %e %H:%M:%S} host kern.info kernel: [{s:12.6f}] {m}",
    "OpenWrt": "{t:%a %b %e %H:%M:%S %Y} kern.info kernel: [{s:12.6f}] {m}",
    "metalog": "{t:%b %e %H:%M:%S} [kernel] [{s:12.6f}] {m}",
    "Xen": "(XEN) [{s:12.6f}] {m}",
    "ftrace": "  <idle>-0  [000] d..1.  {s:11.6f}: console: [{s:12.6f}] {m}",
    "logcat": "{t:%m-%d %H:%M:%S}.000     0     0 I : [{s:12.6f}] {m}",
    "grabserial": "[{s:.6f} 0.001000] [{s:12.6f}] {m}",
}  # fmt: skip

AROUND: dict[str, str] = {
    "Windows": "{l}\r",
    "Windows twice": "{l}\r\r",
    "BuildKit": "#12 {l}",
    "BuildKit with time": "#12 0.345 {l}",
    "mail": "> {l}",
    "mail thrice": ">>> {l}",
    "mail with a name": "AB> {l}",
    "grep -n": "{n}:{l}",
    "grep -Hn": "dmesg.txt:{n}:{l}",
    "rg": "console:{n}:{l}",
    "git grep": "HEAD:logs/dmesg.txt:{n}:{l}",
    "zgrep": "kern.log.2.gz:{l}",
    "cat -n": "{n:6}\t{l}",
    "less -N": "{n:7} {l}",
    "bat": "{n:4}   │ {l}",
    "ts": "{t:%b %d %H:%M:%S} {l}",
    "ts -i": "00:00:01 {l}",
    "ts -i .": "0.000123 {l}",
    "ts -r": "12d4h ago {l}",
    "ts in brackets": "[{t:%Y-%m-%d %H:%M:%S}] {l}",
    "ts in brackets, colon": "[{t:%Y-%m-%d %H:%M:%S.%f}]: {l}",
    "ts of seconds": "1772359200 {l}",
    "tio": "[{t:%H:%M:%S}.123] {l}",
    "minicom": "[{t:%Y-%m-%d %H:%M:%S}.123] {l}",
    "conserver": "[{t:%a %b %e %H:%M:%S %Y}]{l}",
    "Tera Term": "[{t:%a %b %d %H:%M:%S}.123 {t:%Y}] {l}",
    "American": "{t:%m/%d/%Y %I:%M:%S %p} {l}",
    "American in brackets": "[{t:%m/%d/%Y %I:%M:%S %p}] {l}",
    "German": "{t:%d.%m.%Y %H:%M:%S} {l}",
    "compact": "{t:%Y%m%d-%H%M%S} {l}",
    "svlogd": "{t:%Y-%m-%d_%H:%M:%S}.12345 {l}",
    "multilog": "@4000000065e1a8f01d2c3b4c {l}",
    "docker logs -t": "{t:%Y-%m-%dT%H:%M:%S}.123456789Z {l}",
    "docker compose": "qemu-1  | {l}",
    "docker compose -t": "qemu-1  | {t:%Y-%m-%dT%H:%M:%S}.123456789Z {l}",
    "docker compose in colour": "\x1b[36mqemu-1  | \x1b[0m{l}",
    "CRI": "{t:%Y-%m-%dT%H:%M:%S}.123456789Z stdout F {l}",
    "kubectl --prefix": "[pod/td-0/qemu] {l}",
    "kubectl --prefix --timestamps": "[pod/td-0/qemu] {t:%Y-%m-%dT%H:%M:%S}.123456789Z {l}",
    "stern": "td-0 qemu {l}",
    "fence": "{l}```",
    "Terraform": "null_resource.dmesg (remote-exec): {l}",
    "CSV without marks": "{t:%Y-%m-%dT%H:%M:%SZ},host,,{l}",
    "kubetail": "[td-0 qemu] {l}",
    "GitHub": "{t:%Y-%m-%dT%H:%M:%S}.1234567Z {l}",
    "gh run view": "build (24.04, 1)\tUNKNOWN STEP\t{t:%Y-%m-%dT%H:%M:%S}.1234567Z {l}",
    "GitLab": "{t:%Y-%m-%dT%H:%M:%S}.123456Z 01O {l}",
    "Jenkins": "[{t:%Y-%m-%dT%H:%M:%S}.123Z] {l}",
    "LAVA": "- {{dt: '{t:%Y-%m-%dT%H:%M:%S}', lvl: target, msg: \"{l}\"}}",
    "pssh": "[1] {l}",
    "fabric": "[node1] out: {l}",
    "a logger of Python's": "{t:%Y-%m-%d %H:%M:%S},123 - console - INFO - {l}",
    "pytest": "INFO     console:serial.py:12 {l}",
    "a logger of Rust's": "[{t:%Y-%m-%dT%H:%M:%SZ} INFO  vmm::serial] {l}",
    "glog": "I0301 10:00:00.123456       1 serial.go:12] {l}",
    "CSV": '"{t:%Y-%m-%dT%H:%M:%SZ}","host","{l}"',
    "Loki": '{t:%Y-%m-%dT%H:%M:%SZ} {{job="kernel"}} {l}',
    "QEMU's monitor": "qemu-system-x86_64: {l}",
    "make": "make[1]: {l}",
    "a service": "Mar 01 10:00:00 host qemu[812]: {l}",
    "bold": "**{l}**",
    "code": "`{l}`",
    "HTML": "<p>{l}</p>",
    "a table": "| {l} |",
    "C comment": "/* {l} */",
    "diff": "+{l}",
    "serial over LAN": "\x1b[{n};1H{l}\x1b[K",
    "title": "\x1b]0;root@host: ~\x07{l}",
    "colour without escapes": "[32m{l}[0m",
    "colour of rsyslog": "#033[32m{l}#033[0m",
    "colour in caret notation": "^[[32m{l}^[[0m",
    "vi": "{l}^M",
    "a spinner": "|\b/\b-\b\\\b{l}",
    "a corrected word": "abc\b \b\b \b\b \b{l}",
    "NUL": "\0\0{l}",
    "no width": "\u200b{l}",
    "padding": "{l}                                        ",
    "a second pane": "{l}                                        │ $ ls",
    "blank lines": "{l}\n",
}  # fmt: skip


def stamped(template: str, lines: Sequence[Line]) -> list[str]:
    """The lines with a stamp."""
    return [
        template.format(s=seconds, u=round(seconds * 1e6), t=_BEGIN + timedelta(seconds=seconds), m=words)
        for seconds, words in lines
    ]


def around(template: str, lines: Sequence[str]) -> list[str]:
    """The lines with something around each."""
    return [
        template.format(n=number, l=line, t=_BEGIN + timedelta(seconds=number))
        for number, line in enumerate(lines, 1)
    ]


def _plain(lines: Sequence[Line]) -> list[str]:
    return stamped(STAMPS["dmesg"], lines)


def _entry(line: Line) -> dict[str, str]:
    return {
        "_TRANSPORT": "kernel",
        "SYSLOG_IDENTIFIER": "kernel",
        "_HOSTNAME": "host",
        "_SOURCE_MONOTONIC_TIMESTAMP": str(round(line[0] * 1e6)),
        "MESSAGE": line[1],
    }


def _dmesg(lines: Sequence[Line]) -> dict[str, object]:
    return {"dmesg": [{"pri": 6, "time": seconds, "msg": words} for seconds, words in lines]}


def _text(lines: Sequence[Line]) -> str:
    return "\n".join(_plain(lines))


DOCUMENTS: dict[str, Callable[[Sequence[Line]], str | bytes]] = {
    "dmesg --json": lambda lines: json.dumps(_dmesg(lines), indent=3),
    "dmesg --json in a line": lambda lines: json.dumps(_dmesg(lines)),
    "journal json": lambda lines: "\n".join(json.dumps(_entry(line)) for line in lines),
    "journal json-seq": lambda lines: "".join(f"\x1e{json.dumps(_entry(line))}\n" for line in lines),
    "journal json-sse": lambda lines: "".join(f"data: {json.dumps(_entry(line))}\n\n" for line in lines),
    "journal through jq -s": lambda lines: json.dumps([_entry(line) for line in lines], indent=2),
    "jq -s in a line": lambda lines: json.dumps([_entry(line) for line in lines]),
    "a list of lines": lambda lines: json.dumps(_plain(lines), indent=2),
    "a list in a line": lambda lines: json.dumps(_plain(lines)),
    "one text": lambda lines: json.dumps(_text(lines)),
    "a field": lambda lines: json.dumps({"host": "a", "dmesg": _text(lines)}),
    "a console's output": lambda lines: json.dumps({"Id": "i-1", "Output": _text(lines)}, indent=4),
    "Ansible": lambda lines: "ok: [host] => " + json.dumps({"msg": _text(lines)}, indent=4),
    "Ansible's lines": lambda lines: "ok: [host] => " + json.dumps({"stdout_lines": _plain(lines)}, indent=4),
    "Docker's log file": lambda lines: "\n".join(
        json.dumps({"log": f"{line}\n", "stream": "stdout", "time": "x"}) for line in _plain(lines)
    ),
    "Elastic": lambda lines: json.dumps(
        {"hits": {"hits": [{"_source": {"host": {"name": "h"}, "message": line}} for line in _plain(lines)]}}
    ),
    "Splunk's export": lambda lines: "\n".join(
        json.dumps({"preview": False, "result": {"host": "h", "_raw": line}}) for line in _plain(lines)
    ),
    "UTF-16": lambda lines: "\r\n".join(_plain(lines)).encode("utf-16"),
    "UTF-16 without its mark": lambda lines: "\r\n".join(_plain(lines)).encode("utf-16-le"),
    "UTF-32": lambda lines: _text(lines).encode("utf-32"),
    "an old Macintosh": lambda lines: "\r".join(_plain(lines)),
    "one line": lambda lines: " ".join(_plain(lines)),
    "ends of line written out": lambda lines: "\\r\\n".join(_plain(lines)),
    "breaks": lambda lines: "<br>".join(_plain(lines)),
    "spaces of a word processor": lambda lines: _text(lines).replace(" ", "\u00a0"),
    "overtyped": lambda lines: "\n".join("".join(f"{c}\b{c}" for c in line) for line in _plain(lines)),
    "screen": lambda lines: "\x1b[2J\x1b[01;01HBdsDxe: starting\r\n" + "\r\n".join(_plain(lines)),
    "/dev/kmsg with fields": lambda lines: "".join(
        f"6,339,{round(s * 1e6)},-;{m}\n SUBSYSTEM=cpu\n" for s, m in lines
    ),
}  # fmt: skip
