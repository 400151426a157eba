"""What stands before the kernel's own words in a log line, taken off layer by layer.

Outside may be what people and tools put around a log: a mail quote, ``grep -n``, a container engine, a serial
console's clock. Then comes syslog or the journal, in any language, then the kernel's own stamp. Only the
outside may be foreign: behind a program's name nothing is taken off, so no program passes for the kernel.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_MAX_LAYERS = 8
_PID_1 = "systemd[1]: "
_ESXI_LOGS = ("vmkernel", "vmkwarning")

_TIME = r"\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?"
_ISO = rf"\d{{4}}[-/]\d\d[-/]\d\d[T ]{_TIME}(?:\s?(?:Z|[+-]\d\d:?\d\d))?"
# A date in words of any language: a month may be `Okt`, `févr.`, `4月` or `Thg 3`.
_WORD = r"[^\s\[\]<>(){}\"'`=:;|]{1,14}\s{1,3}"
_WORDS = rf"(?!Linux version |(?:Kernel c|C)ommand line)(?:{_WORD}){{0,5}}{_TIME}"
_ZONE = r"(?:[AP]M|UTC|GMT|MSK|[A-Z]{1,3}[SD]?T|[+-]\d{2,4})(?=\s)"
_WALL = rf"(?:{_ISO}|{_WORDS}|\d{{9,10}}\.\d{{3,9}})(?:\s{_ZONE})?(?:\s\d{{4}}(?=\s))?"

# Host and program of syslog and the journal; without a host (`--no-hostname`) only the kernel is told apart.
_IDENT = (
    r"(?!Command line: )"
    r"(?:(?:[^\s\[\]<>:]+\s)(?:[a-z]+\d?\.[a-z]+\s)?(?P<program>[\w./@-]+)|(?P<alone>kernel))"
    r"(?:\[(?:\d+|n/a|-)\])?:(?:\s+|$)"
)
_ENTRY = re.compile(
    rf"(?:<(?P<priority>\d{{1,4}})>)?\s{{0,2}}"
    rf"(?:(?P<wall>{_WALL})\s+|(?P<early>\[\s{{0,12}}\d+\.\d+(?:\s*<[^<>\]]*>)?\])\s"
    rf"(?=\S+\s(?:kernel|\S+\[\d+\]):\s)){_IDENT}"
)
_RFC_5424 = re.compile(
    rf"(?:<(?P<priority>\d{{1,4}})>)?1 {_ISO} \S+ (?P<program>\S+) \S+ \S+ "
    r"(?:-|(?:\[[^\]]*\])+)(?:\s|$)\ufeff?"
)
# ESXi before version 8: the wall clock, then the CPU and the world.
_ESXI = re.compile(rf"{_ISO}\s(?=cpu\d+:\d+\))")
_CPU_AND_WORLD = re.compile(r"cpu\d+:\d+(?: opID=\S+)?\)")

_LAYERS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_ISO} std(?:out|err) [FP] ",  # Kubernetes' log files
        r"\s*[>|│┃](?!=)\s?",  # a mail quote, a table
        r"\s*[-+*•](?:\s+(?=\S)|(?=[\[<]))",  # a list, a diff
        r"\s*(?=[`\"'])",  # quotation marks: see `_unquoted`
        # `grep -H`, `head FILE`: the kernel has a space behind its colons
        r"(?:\(standard input\)|[\w.+~@%/-]{0,200}(?:\.(?:log|txt|gz|out|old|\d+)|log|dmesg|messages))"
        r"[:-](?=\S)",
        # `grep -n`, `cat -n`
        r"\s*(?!\d{1,2}:\d\d:\d\d|\d{4}-\d\d-\d\d)\d{1,7}"
        r"(?:[:|)│\t-]|(?=\s+[\[<>]|\s+\S.{0,30}\d\d:\d\d:\d\d))\s*(?=\S)",
        r"[\w.-]{1,64}\s{1,40}\|\s",  # docker compose
        r"\[(?=[a-z][\w.-]*/)[\w/.-]{1,200}\]\s",  # kubectl --prefix
        r"\S{1,80} \S{1,80} › ",  # stern
        r"data: (?=\{)",
        rf"{_WALL}[:,]?\s+(?:[|>:-]\s)?",
        r"\s+",
    )
)

# The usual form first: most lines need no more.
_PLAIN = re.compile(
    r"\[\s{0,12}(?P<seconds>\d+\.\d+)\](?:\s{0,4}\[\s{0,8}[TC]\d+\])?\s+(?!\S+\s(?:kernel|\S+\[\d+\]):\s|\[)"
)
# A console's own clock, before the kernel's stamp.
_CLOCK = re.compile(
    r"\[[^\[\]]{0,40}\d{1,2}:\d\d:\d\d[^\[\]]{0,30}\]\s*(?=\[\s{0,12}\d+\.\d+\]|\S+ kernel: )"
)
_STAMP = re.compile(
    r"""
    (?:(?P<record>\d{1,4}),\d+,(?P<usec>\d+),[^;]*;)?                 # /dev/kmsg record
    (?:<(?P<priority>\d{1,4})>)?                                     # syslog priority
    (?:(?P<facility>[a-z]+\d?)\s{0,4}:\s{0,3}(?:emerg|alert|crit|err|warn|notice|info|debug)\s{0,4}:\s{0,3})?
    (?P<tag>kernel:\s)?
    (?P<stamp>\[\s{0,12}(?P<seconds>\d+\.\d+)(?:\s*<[^<>\]]*>)?\]
      |\[\s{0,12}[+<]\s{0,8}\d+\.\d+>?\]                             # dmesg --reltime
      |\[[^\[\]]{0,40}\d{1,2}:\d\d(?::\d\d)?[^\[\]]{0,30}\]           # dmesg -T, in any language; dmesg -H
    )?
    (?:\s{0,4}\[\s{0,8}[TC]\d+\])?                                   # thread or CPU id
    \s*
    """,
    re.VERBOSE,
)


class Unwrapped(NamedTuple):
    """A line without its wrapping.

    seconds: since boot. wrapped: it came through syslog or the journal. foreign: another program wrote it,
    and its name is kept before the message. known: a wrapping of the kernel's own lines was recognised.
    """

    message: str
    seconds: float | None = None
    wrapped: bool = False
    foreign: bool = False
    known: bool = False


def unwrap(line: str) -> Unwrapped:
    """Take the wrapping off a printable line.

    A line of another program keeps that program's name, so that it cannot pass for the kernel's.
    """
    if plain := _PLAIN.match(line):
        return Unwrapped(line[plain.end() :].rstrip(), float(plain["seconds"]), known=True)
    for _ in range(_MAX_LAYERS):
        if entry := _RFC_5424.match(line) or _ENTRY.match(line):
            return _entry(entry, line[entry.end() :])
        if esxi := _ESXI.match(line):
            return Unwrapped(f"vmkernel: {_world(line[esxi.end() :])}", None, True, known=True)
        if line.lstrip().startswith("{") and (found := _json(line)):
            return found
        if clock := _CLOCK.match(line):
            line = line[clock.end() :]
            continue
        if (stamp := _STAMP.match(line)) and _any(stamp):
            return _stamped(stamp, line[stamp.end() :])
        rest = _peeled(line)
        if rest is None:
            break
        line = rest
    return Unwrapped(line.strip())


def _any(stamp: re.Match[str]) -> bool:
    return any(stamp[name] for name in ("record", "priority", "facility", "tag", "stamp"))


def _peeled(line: str) -> str | None:
    for layer in _LAYERS:
        found = layer.match(line)
        if found and (found.end() or line[:1] in "`\"'"):
            return (
                _unquoted(line[found.end() :])
                if line[found.end() :][:1] in tuple("`\"'")
                else line[found.end() :]
            )
    return None


def _unquoted(line: str) -> str:
    mark = line[0]
    inside = line.lstrip(mark)
    return inside.rstrip().removesuffix(",").rstrip(mark)


def _entry(entry: re.Match[str], rest: str) -> Unwrapped:
    """A line of syslog or the journal, whose message may have the kernel's own stamp."""
    groups = entry.groupdict()
    program = groups.get("program") or groups.get("alone") or "kernel"
    early = groups.get("early")
    inner = _stamped(stamp, rest[stamp.end() :]) if (stamp := _STAMP.match(rest)) else Unwrapped(rest)
    seconds = inner.seconds
    if seconds is None and early:
        seconds = float(re.split(r"[<\]]", early.lstrip("[ "))[0])
    wrapped = early is None
    if program in _ESXI_LOGS:
        return Unwrapped(f"vmkernel: {_world(inner.message)}", None, wrapped, known=True)
    facility = int(groups.get("priority") or 0) >> 3
    if program != "kernel" or facility or inner.foreign:
        name = _full_program(entry) if program != "kernel" else "user"
        kept = rest.rstrip() if program != "kernel" else inner.message.removeprefix("user: ")
        foreign = not (name + ": ").startswith(_PID_1)
        return Unwrapped(f"{name}: {kept}", seconds, wrapped, foreign, known=True)
    return Unwrapped(inner.message, seconds, wrapped, known=True)


def _full_program(entry: re.Match[str]) -> str:
    """The program with its process id, as the line has it."""
    name = entry["program"]
    behind = entry[0][entry.end("program") - entry.start() :]
    pid = re.match(r"\[\d+\]", behind)
    return name + (pid[0] if pid else "")


def _stamped(stamp: re.Match[str], rest: str) -> Unwrapped:
    """A line as the kernel's own buffer has it."""
    message = rest.rstrip()
    facility = int(stamp["record"] or stamp["priority"] or 0) >> 3
    other = bool(facility) or stamp["facility"] not in (None, "kern")
    foreign = other and not message.startswith(_PID_1)
    if foreign:
        message = f"user: {message}"  # a program wrote this into the kernel's buffer
    seconds = float(stamp["seconds"]) if stamp["seconds"] else None
    if seconds is None and stamp["usec"]:
        seconds = int(stamp["usec"]) / 1e6
    return Unwrapped(message, seconds, False, foreign, known=_any(stamp))


def _world(message: str) -> str:
    return _CPU_AND_WORLD.sub("", message, count=1)


def _json(line: str) -> Unwrapped | None:
    """One object a line: ``journalctl -o json``, Docker's log files and those of log collectors."""
    import json  # only such logs need it

    try:
        entry = json.loads(line.strip().rstrip(","))
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    if "MESSAGE" in entry:
        return of_journal({str(key): value for key, value in entry.items()})
    for key in ("log", "msg", "message", "textPayload"):
        text = entry.get(key)
        if isinstance(text, str) and not text.lstrip().startswith("{"):
            return unwrap(text.partition("\n")[0])
    return None


def of_journal(entry: dict[str, object]) -> Unwrapped:
    """An entry of the journal from its fields."""
    said = entry.get("MESSAGE")
    if isinstance(said, list):  # the journal's form of a message that is not text
        said = bytes(part for part in said if isinstance(part, int) and 0 <= part < 256).decode(
            "utf-8", "replace"
        )
    message = str(said or "").partition("\n")[0].rstrip()
    program = str(entry.get("SYSLOG_IDENTIFIER", ""))
    transport = entry.get("_TRANSPORT")
    facility = str(entry.get("SYSLOG_FACILITY", "0"))
    if transport is None and not program:
        return Unwrapped(f"MESSAGE={message}")  # by whom it was is not told
    mine = transport == "kernel" if transport is not None else program == "kernel"
    micro = str(entry.get("_SOURCE_MONOTONIC_TIMESTAMP", ""))
    seconds = int(micro) / 1e6 if micro.isdecimal() else None
    if mine and facility == "0":
        return Unwrapped(message, seconds, True, known=True)
    if program == "systemd" and str(entry.get("_PID", entry.get("SYSLOG_PID", ""))) == "1":
        return Unwrapped(f"{_PID_1}{message}", seconds, True, known=True)
    return Unwrapped(f"{program or 'user'}: {message}", seconds, True, foreign=True, known=True)
