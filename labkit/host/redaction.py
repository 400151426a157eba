"""Facts fit for a public bug report: host names, users, UUIDs, addresses and serial numbers are taken out.

Redaction works on the facts, before anything is diagnosed or shown, so that no view can forget it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePath

from labkit.host._messages import classify
from labkit.host.model import Fact, Facts, KernelLog, LogLine, Value
from labkit.host.tree import Tree

# Options of the kernel command line that host verification reads; no other is kept.
_OPTION = (
    r"(?i)(?:nohibernate|nosgx|nosmx|tsx=\w+|mem=\w+|nosmt\S*|tdx_host=\w+"
    r"|[\w-]*tdx[\w.-]*(?:=\w+)?|kvm[\w.-]*=\w+)"
)
_RULES = (
    (r"(?i)\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", "UUID"),
    (r"(?i)\b(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}\b", "MAC"),
    # No leading zeros: 1.5.06.00 is a module version.
    (r"(?<![\w.])(?:(?:0|[1-9]\d{0,2})\.){3}(?:0|[1-9]\d{0,2})(?![\w.-])", "ADDRESS"),
    (r"(?i)(?<![\w:])(?:[0-9a-f]{1,4}:){3,7}[0-9a-f:]*[0-9a-f](?![\w:])", "ADDRESS"),
    (r"(?i)\b(serial(?:[ _-]?(?:number|no))?[ :=]+)\S+", r"\1SERIAL"),
    (r"\b[\w.+-]+@[\w.-]+", "USER@HOST"),
    (r"(/home/|/Users/)[^/\s]+", r"\1USER"),
)
# A host that is called one of these cannot be told from the kernel's own words.
_VOCABULARY = (
    r"(?i)(?:root|kernel|linux|host|localhost|tdx|virt|kvm|intel|kvm_intel|module|bios|seam|generic|none|user|cpu|xeon"
    r"|nobody|[\d.]+|.{0,2})"
)


def names_of(tree: Tree) -> tuple[str, ...]:
    """Names of this host and of its people: from its files and, on the running machine, its environment."""
    names: set[str] = set()
    for path in ("/etc/hostname", "/proc/sys/kernel/hostname"):
        try:
            names.add(tree.read(path).strip())
        except OSError:
            continue
    try:
        for line in tree.read("/etc/passwd", 1 << 20).splitlines():
            fields = line.split(":")
            if len(fields) > 2 and fields[2].isdecimal() and 1000 <= int(fields[2]) < 65534:
                names.add(fields[0])
    except OSError:
        pass
    if tree.live:
        names |= {os.environ.get(key, "") for key in ("USER", "LOGNAME", "SUDO_USER")}
    names |= {name.partition(".")[0] for name in names}
    return tuple(
        sorted((name for name in names if not re.fullmatch(_VOCABULARY, name)), key=len, reverse=True)
    )


def redact(facts: Facts, names: Iterable[str] = ()) -> Facts:
    """The same facts without what names the host, its people or its parts; the diagnosis stays the same."""
    known = [(re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])", re.IGNORECASE), "NAME") for name in names]
    patterns = (*((re.compile(rule), word) for rule, word in _RULES), *known)
    items = {name: _fact(name, fact, patterns) for name, fact in facts.items.items()}
    return replace(facts, items=items, log=_log(facts.log, patterns))


def redact_text(text: str, names: Iterable[str] = ()) -> str:
    """Any text without what names the host, its people or its parts."""
    known = [(re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])", re.IGNORECASE), "NAME") for name in names]
    return _scrub(text, (*((re.compile(rule), word) for rule, word in _RULES), *known))


_Patterns = tuple[tuple[re.Pattern[str], str], ...]


def _scrub(text: str, patterns: _Patterns) -> str:
    for pattern, word in patterns:
        text = pattern.sub(word, text)
    return text


def _fact(name: str, fact: Fact, patterns: _Patterns) -> Fact:
    if name == "kernel.cmdline" and isinstance(fact.value, str):
        kept = _options(fact.value)
        return replace(fact, value=kept, raw=kept)
    if name == "qcnl.pccs" and isinstance(fact.value, str):
        local = re.search(r"//(?:localhost|127\.[\d.]+|\[::1\])(?::\d+)?$", fact.value)
        where = "https://localhost" if local else "https://HOST"
        return replace(fact, value=where, raw=where)
    value: Value | None = fact.value
    if isinstance(value, str):
        value = _scrub(value, patterns)
    elif isinstance(value, tuple):
        value = tuple(_scrub(part, patterns) for part in value)
    return replace(
        fact,
        source=_scrub(fact.source, patterns),
        value=value,
        raw=_scrub(fact.raw, patterns),
        why=_scrub(fact.why, patterns),
    )


def _options(cmdline: str) -> str:
    words = cmdline.split()
    kept = [word for word in words if re.fullmatch(_OPTION, word)]
    return " ".join([*kept, f"[{len(words) - len(kept)} more left out]"])


def _log(log: KernelLog, patterns: _Patterns) -> KernelLog:
    source = log.source if log.source.startswith("/dev/") else PurePath(log.source).name
    lines = tuple(replace(line, text=_line(line, patterns)) for line in log.lines)
    unread = tuple(replace(line, text=_scrub(_tail(line.text), patterns)) for line in log.unread)
    return replace(
        log,
        source=_scrub(source, patterns),
        why=_scrub(log.why, patterns),
        lines=lines,
        unread=unread,
        machines=tuple(f"machine {number}" for number, _ in enumerate(log.machines, 1)),
    )


def _tail(text: str) -> str:
    """Without what stands before the kernel's words: it may name anybody."""
    return re.sub(r"^.*?(?=(?:virt/tdx|tdx|seam|SEAM|kvm_intel): )", "… ", text)


def _line(line: LogLine, patterns: _Patterns) -> str:
    head, colon, cmdline = line.text.partition("ommand line: ")
    if colon and head in ("C", "Kernel c"):
        return f"{head}{colon}{_options(cmdline)}"
    found = classify(line.text)
    if found and found[0].id == "version":
        return line.text
    # The rest of this line names the builder and the machine it was built on.
    version = re.match(r"Linux version \S+", line.text)
    return _scrub(version[0] if version else line.text, patterns)


def host_names(root: Path) -> tuple[str, ...]:
    """The names to take out for the host whose file system is ``root``."""
    return names_of(Tree(root))
