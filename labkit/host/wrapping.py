"""What stands before the kernel's own words in a log line, taken off layer by layer.

Outside may be what people and tools put around a log: a mail quote, ``grep -n``, a container engine, a serial
console's clock. Then comes syslog or the journal, in any language, then the kernel's own stamp. Only the
outside may be foreign: behind a program's name nothing is taken off, so no program passes for the kernel.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_MAX_LAYERS = 8
_SAMPLE, _MOST = 400, 0.9
_PID_1 = "systemd[1]: "
# Under which log collectors keep a line.
_TEXTS = ("log", "msg", "_msg", "_raw", "message", "line", "body", "textPayload", "short_message", "original")
# Under which they keep whose it is.
_PROGRAMS = ("program", "programname", "ident", "appname", "app_name", "app-name", "process", "comm")
_ESXI_LOGS = ("vmkernel", "vmkwarning")

_TIME = r"\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?"
_ISO = rf"\d{{4}}[-/]\d\d[-/]\d\d[T _]{_TIME}(?:\s?(?:Z|[+-]\d\d:?\d\d))?"
# A date in words of any language: a month may be `Okt`, `févr.`, `4月` or `Thg 3`.
_WORD = r"[^\s\[\]<>(){}\"'`=:;|*]{1,14}\s{1,3}"
_WORDS = rf"(?!Linux version |(?:Kernel c|C)ommand line)(?:{_WORD}){{0,5}}{_TIME}"
_ZONE = r"(?:[AP]M|UTC|GMT|MSK|[A-Z]{1,3}[SD]?T|[+-]\d{2,4})(?=\s)"
_WALL = (
    rf"(?:{_ISO}|{_WORDS}|\d{{9,10}}\.\d{{3,9}}|\d{{8}}[-T]\d{{6}}Z?|@[0-9a-f]{{24}})"
    rf"(?:\s{_ZONE})?(?:\s\d{{4}}(?=\s))?"
)
# Which thread or CPU printed a line: printk's own form, and those of patched kernels and of boot loaders.
_CALLER = (
    r"(?:\s{0,4}\[\s{0,8}(?:[TC]?\d+(?:[/@][TC]\d+)?|[\w/:.-]{1,32}\(\d{1,7}\))\])?"
    r"\s*(?:(?:T|C|CPU)\d{1,7}:\s)?"
)

# Host and program of syslog and the journal; without a host (`--no-hostname`) only the kernel is told apart.
_IDENT = (
    r"(?!Command line: )"
    r"(?:(?:(?P<host>[^\s\[\]<>:]+(?::+[^\s\[\]<>:]+)*)\s)(?:[a-z]+\d?\.[a-z]+\s)?(?P<program>[\w./@-]+)|(?P<alone>kernel))"
    r"(?:\[(?:\d+|n/a|-)\])?:(?:\s+|$)"
)
_ENTRY = re.compile(
    rf"(?:<(?P<priority>\d{{1,4}})>)?\s{{0,2}}"
    rf"(?:(?P<wall>{_WALL})\s+|(?P<early>\[\s{{0,12}}\d+\.\d+(?:\s*<[^<>\]]*>)?\])\s"
    rf"(?=\S+\s(?:kernel|\S+\[\d+\]):\s)){_IDENT}"
)
_RFC_5424 = re.compile(
    rf"(?:\d{{1,5}} )?(?:<(?P<priority>\d{{1,4}})>)?1 (?:-|{_ISO}) (?P<host>\S+) (?P<program>\S+) \S+ \S+ "
    r"(?:-|(?:\[(?:[^\]\\]|\\.)*\])+)(?:\s|$)\ufeff?"
)
# ESXi before version 8: the wall clock, then the CPU and the world.
_ESXI = re.compile(rf"{_ISO}\s(?=cpu\d+:\d+\))")
_CPU_AND_WORLD = re.compile(r"cpu\d+:\d+(?: opID=\S+)?\)")

BUILDKIT = r"#\d{1,5} (?:\d{1,7}\.\d{1,3} )?"
_BEFORE_STAMP = r"(?=\[\s{0,12}\d+\.\d+\]\s)"
_MARKS = "`\"'“”‘’„«»"
_LAYERS = (
    rf"{_ISO} (?:std(?:out|err) [FP] |\d\d[OE][ +])",  # Kubernetes' log files, GitLab's jobs
    rf"[^\t]{{1,80}}\t[^\t]{{1,80}}\t(?={_ISO} )",  # `gh run view --log`
    BUILDKIT,
    rf'(?:(?:"[^"]{{0,200}}"|[^",;\s][^",;]{{0,80}}|)[,;]){{1,20}}"?{_BEFORE_STAMP}',  # a table's row (CSV)
    r"\s*(?:&gt;\s?)+|\s*[>|│┃](?!=)\s?",  # a mail quote, a table
    r"\s*(?:[-+*•](?:\s+(?=\S)|(?=[\[<]))|\*\*(?=\S))",  # a list, a diff, bold text
    rf"\s*b?(?=[{_MARKS}])",  # quotation marks, which `_peeled` takes off
    r"(?:<(?:p|pre|code|div|span|li|td|tt|samp|br)\b[^<>]{0,80}>\s?)+",  # the source of a page
    # `grep -H`, `head FILE`: the kernel has a space behind its colons
    r"(?P<at>\(standard input\)|(?:[A-Za-z]:\\)?[\w.+~@%/\\ -]{0,200}"
    r"(?:\.(?:log|txt|gz|out|old|\d+)|log|dmesg|messages)(?:-\d{4,14})?)[:-](?=\S)",
    # `grep -n`, `cat -n`, a numbered list
    r"\s*L?(?!\d{1,2}:\d\d:\d\d|\d{4}-\d\d-\d\d)\d{1,7}"
    r"(?:[:|)│\t-]|\.(?=\s)|(?=\s+[\[<]|\s+\S.{0,30}\d\d:\d\d:\d\d))\s*(?=\S)",
    r"\s*\d{1,7}\s{1,40}[|│]\s",  # a numbered table
    r"(?P<at>[\w.-]{1,64})\s{1,40}\|\s",  # docker compose
    r"\[(?P<at>(?=[a-z][\w.-]*/)[\w/.-]{1,200})\]\s",  # kubectl --prefix
    r"(?P<at>\S{1,80} \S{1,80}) › ",  # stern
    rf"(?P<at>[\w./~+-]{{1,200}}):\d{{1,7}}[:-]{_BEFORE_STAMP}",  # `rg -n`
    # what patched kernels, grabserial, pssh and `ts` put before a stamp
    r"(?:(?:T|C|CPU)\d{1,7}:|\[\s{0,8}\d+(?:\.\d+\s+\d+\.\d+)?\]|\d{1,9}\.\d{3,9}|(?:\d{1,5}[dhms]){1,3} ago)"
    rf"\s{_BEFORE_STAMP}",
    # pdsh, clush, parallel ssh
    rf"(?:(?P<at>[\w.-]{{1,64}}):\s?|\[(?P<in>[A-Za-z][\w.-]{{0,63}})\]:?\s(?:out:\s)?){_BEFORE_STAMP}",
    r"data: (?=\{)",
    rf"(?P<at>[\w.\[\]\"-]{{1,80}}) \((?:remote|local)-exec\): {_BEFORE_STAMP}",  # Terraform
    rf'\{{(?:[\w.]{{1,64}}="[^"]{{0,200}}"(?:,\s?)?){{1,20}}\}}\s{{1,4}}{_BEFORE_STAMP}',  # logcli
    # logfmt
    r'(?:[\w.]{1,32}=(?:"[^"]*"|\S*)\s+){0,8}(?:msg|message|log|line)=(?="\[\s{0,12}\d+\.\d+\]\s)',
    rf"(?:-\s)?\[?(?i:debug|info|notice|warn(?:ing)?|err(?:or)?)\]?(?:\s?[-:|])?\s{_BEFORE_STAMP}",
    rf"\d{{9,10}}(?:\.\d{{1,9}})?\s{_BEFORE_STAMP}",
    rf"{_WALL}[:,]?\s+(?:[|>:-]\s)?",
    r"\s+",
)
# The end of what Markdown shows as code, behind the last line instead of below it.
_FENCE = re.compile(r"(?<=[^`])`{3}\s*$")
# What closes such a wrapping, behind the message.
_OPENS = re.compile(rf"[|│┃<{_MARKS}]|\*\*")
CLOSING = re.compile(rf"(?:\s*(?:[|│┃]|\\[nr]|#012|\*[*/]|</?\w{{1,10}}\s?/?>|[{_MARKS}]+,?))+$")
# No wrapping has these.
_KERNELS = re.compile(r"Linux version \d|ommand line: ")

# The usual form first: most lines need no more.
_PLAIN = re.compile(
    r"\[\s{0,12}(?P<seconds>\d+\.\d+)\](?:\s{0,4}\[\s{0,8}[TC]\d+\])?\s+"
    r"(?!\S+\s(?:kernel|\S+\[\d+\]):\s|\[|(?:T|C|CPU)\d+:)"
)
# A console's own clock, before the kernel's stamp.
_CLOCK = re.compile(
    r"\[(?:[^\[\]]{0,40}\d{1,2}:\d\d(?::\d\d)?[^\[\]]{0,30}|\d{9,10}\.\d{1,9})\]:?\s*"
    rf"(?=\[{{1,2}}\s{{0,12}}\d+\.\d+\]|\S+ kernel: |<\d{{1,4}}>|\d{{1,4}},\d+,\d+,|{_WALL}\s+\S+\skernel: )"
)
_CLOCK_ALONE = re.compile(r"\[[^\[\]]{0,40}\d{1,2}:\d\d:\d\d[^\[\]]{0,30}\]:?\s?")
_STAMP = re.compile(
    r"""
    (?:(?:\d+\.\d+[\w.+~-]{0,60},)?(?P<record>\d{1,4}),\d+,(?P<usec>\d+),[^;]*;)?  # /dev/kmsg, netconsole
    (?:<(?P<priority>\d{1,4})>)?                                     # syslog priority
    (?:(?P<facility>[a-z]+\d?)\s{0,4}:\s{0,3}(?:emerg|alert|crit|err|warn|notice|info|debug)\s{0,4}:\s{0,3}
      (?:\d{4}-\d\d-\d\dT[\d:]{8},\d{6}[+-]\d\d:\d\d\s)?)?                # dmesg -x --time-format iso
    (?P<tag>kernel:\s)?
    (?:(?i:debug|info|notice|warn(?:ing)?|err(?:or)?):\s(?=(?:virt/)?tdx:\s))?
    (?P<stamp>\[{1,2}\s{0,12}(?P<seconds>\d+\.\d+)(?:\s*<[^<>\]]*>)?\]{1,2}
      |\[\s{0,12}[+<]\s{0,8}\d+\.\d+>?\]                             # dmesg --reltime
      |\[[^\[\]]{0,40}\d{1,2}:\d\d(?::\d\d)?[^\[\]]{0,30}\]:?          # dmesg -T, in any language; dmesg -H
    )?
    """
    + _CALLER,
    re.VERBOSE,
)


class Unwrapped(NamedTuple):
    """A line without its wrapping.

    seconds: since boot. wrapped: it came through syslog or the journal. foreign: another program wrote it,
    and its name is kept before the message. known: a wrapping of the kernel's own lines was recognised.
    origin: the host, file or container that the wrapping names; empty where it names none.
    """

    message: str
    seconds: float | None = None
    wrapped: bool = False
    foreign: bool = False
    known: bool = False
    origin: str = ""


def unwrap(line: str) -> Unwrapped:
    """Take the wrapping off a printable line.

    A line of another program keeps that program's name, so that it cannot pass for the kernel's.
    """
    line = _FENCE.sub("", line)
    if plain := _PLAIN.match(line):
        return Unwrapped(line[plain.end() :].rstrip(), float(plain["seconds"]), known=True)
    outside, origin = "", ""
    for _ in range(_MAX_LAYERS):
        if found := _read(line):
            if _OPENS.search(outside):
                found = found._replace(message=CLOSING.sub("", found.message))
            return found if found.origin or not origin else found._replace(origin=origin)
        peeled = _peeled(line)
        if peeled is None:
            break
        outside, origin, line = outside + peeled.outside, origin or peeled.origin, peeled.rest
    message = CLOSING.sub("", line.strip()) if _OPENS.search(outside) else line.strip()
    return Unwrapped(message, origin=origin)


def without_common(lines: list[str]) -> list[str]:
    """The lines without what a tool put before nearly all of them."""
    for _ in range(_MAX_LAYERS):
        sample = [line for line in lines if line.strip()][:_SAMPLE]
        least = max(3, _MOST * len(sample))
        for layer in (_CLOCK_ALONE, *_layers()):
            if sum(_width(layer, line) > 0 for line in sample) >= least:
                break
        else:
            return lines
        lines = [line[_width(layer, line) :] for line in lines]
    return lines


def _width(layer: re.Pattern[str], line: str) -> int:
    """How many characters a layer takes of a line; a layer may be all there is of it."""
    found = layer.match(line) or layer.match(f"{line}x")
    return min(found.end(), len(line)) if found else 0


def _read(line: str) -> Unwrapped | None:
    """A line whose wrapping says whose it is; None where something else stands outside."""
    if entry := _RFC_5424.match(line) or _ENTRY.match(line):
        return _entry(entry, line[entry.end() :])
    if esxi := _ESXI.match(line):
        return Unwrapped(f"vmkernel: {_world(line[esxi.end() :])}", None, True, known=True)
    if line.lstrip().startswith("{") and (found := _json(line)):
        return found
    if not _CLOCK.match(line) and (stamp := _STAMP.match(line)) and _any(stamp):
        return _stamped(stamp, line[stamp.end() :])
    return None


def _any(stamp: re.Match[str]) -> bool:
    return any(stamp[name] for name in ("record", "priority", "facility", "tag", "stamp"))


@lru_cache(maxsize=1)
def _layers() -> tuple[re.Pattern[str], ...]:
    """Compiled when a line needs them: most logs need none."""
    return tuple(re.compile(pattern) for pattern in _LAYERS)


class _Peeled(NamedTuple):
    """A layer taken off: what it was, what it names, and what is left."""

    outside: str
    origin: str
    rest: str


def _peeled(line: str) -> _Peeled | None:
    if clock := _CLOCK.match(line):
        return _Peeled("", "", line[clock.end() :])
    for layer in _layers():
        if (found := layer.match(line)) is None:
            continue
        rest = line[found.end() :].lstrip(_MARKS)
        outside = line[: len(line) - len(rest)]
        if outside and not _KERNELS.search(outside):
            names = found.groupdict()
            return _Peeled(outside, names.get("at") or names.get("in") or "", rest)
    return None


def _entry(entry: re.Match[str], rest: str) -> Unwrapped:
    """A line of syslog or the journal, whose message may have the kernel's own stamp."""
    groups = entry.groupdict()
    program = groups.get("program") or groups.get("alone") or "kernel"
    early, host = groups.get("early"), groups.get("host") or ""
    inner = _stamped(stamp, rest[stamp.end() :]) if (stamp := _STAMP.match(rest)) else Unwrapped(rest)
    seconds = inner.seconds
    if seconds is None and early:
        seconds = float(re.split(r"[<\]]", early.lstrip("[ "))[0])
    wrapped = early is None
    if program in _ESXI_LOGS:
        return Unwrapped(f"vmkernel: {_world(inner.message)}", None, wrapped, known=True, origin=host)
    facility = int(groups.get("priority") or 0) >> 3
    if program != "kernel" or facility or inner.foreign:
        name = _full_program(entry) if program != "kernel" else "user"
        kept = rest.rstrip() if program != "kernel" else inner.message.removeprefix("user: ")
        foreign = not (name + ": ").startswith(_PID_1)
        return Unwrapped(f"{name}: {kept}", seconds, wrapped, foreign, known=True, origin=host)
    return Unwrapped(inner.message, seconds, wrapped, known=True, origin=host)


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
    return of_entry(entry)


def of_entry(entry: dict[str, object]) -> Unwrapped | None:
    """An entry of the journal or of a log collector; None where it has no text."""
    if "MESSAGE" in entry:
        return of_journal({str(key): value for key, value in entry.items()})
    program = next((name for key in _PROGRAMS if (name := _name(entry.get(key)))), "kernel")
    for inner in (entry, *(entry.get(key) for key in ("_source", "result", "fields", "event"))):
        if not isinstance(inner, dict):
            continue
        for key in _TEXTS:
            text = inner.get(key)
            if not isinstance(text, str) or text.lstrip().startswith("{"):
                continue
            found = unwrap(text.partition("\n")[0])
            if program not in ("kernel", "kern"):
                return Unwrapped(f"{program}: {found.message}", found.seconds, True, True, known=True)
            return found
    return None


def _name(value: object) -> str:
    """The program that an entry names, as text or as an object with a name."""
    name = value.get("name") if isinstance(value, dict) else value
    return name if isinstance(name, str) else ""


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
    micro, host = str(entry.get("_SOURCE_MONOTONIC_TIMESTAMP", "")), str(entry.get("_HOSTNAME") or "")
    seconds = int(micro) / 1e6 if micro.isdecimal() else None
    if mine and facility == "0":
        return Unwrapped(message, seconds, True, known=True, origin=host)
    if program == "systemd" and str(entry.get("_PID", entry.get("SYSLOG_PID", ""))) == "1":
        return Unwrapped(f"{_PID_1}{message}", seconds, True, known=True)
    return Unwrapped(f"{program or 'user'}: {message}", seconds, True, foreign=True, known=True)
