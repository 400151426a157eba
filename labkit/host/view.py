"""Facts and kernel log as the questions that the checks ask."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from labkit.host._message import CORE_HEADS, Message, Role
from labkit.host._messages import classify
from labkit.host.model import Fact, Facts, LogLine, LogState
from labkit.host.module import ModuleVersion, of_match, of_text
from labkit.host.seamcall import Seamcall, decode

# Models that exist with TDX, by CPU family. "None" for a family: any model of it may have TDX.
# Diamond Rapids is family 19; 06_DD (Clearwater Forest) is unverified.
TDX_MODELS: dict[int, frozenset[int] | None] = {6: frozenset({0x8F, 0xCF, 0xAD, 0xAE, 0xAF, 0xDD}), 19: None}
_FIRST_TDX_MODEL = 0x8F
# Emerald Rapids writes its name in capitals; in a guest it may be `Intel 06/cf`.
_VENDORS = (
    ("Intel", re.compile(r"(?i)GenuineIntel|\bIntel\b")),
    ("AMD", re.compile(r"AuthenticAMD|\bAMD\b")),
)
_XEON_6 = ((6, 0xAD), (6, 0xAE), (6, 0xAF))
_CLIENT = re.compile(r"\b(?:Core|Celeron|Pentium|Atom|Processor N\d+)\b")
# Distribution kernels without vendor patches; Canonical's TDX kernels end in -intel or -intel-opt.
_VENDOR = re.compile(r"(?i)mvp|tdx|bkc")
_PLAIN_RELEASE = re.compile(r"\d+\.\d+\.\d+\S*(?:-generic|-lowlatency|-amd64|\.fc\d+\S*|-arch\d+-\d+)$")
# The name of a compiler for another architecture, in the kernel's first line.
_COMPILER = re.compile(
    r"\b(aarch64|arm|riscv64|s390x|powerpc64(?:le)?|ppc64le|loongarch64|mips\w*|i[3-6]86)-[\w-]*(?:linux|gcc)"
)
_OPTION = "kvm_intel.tdx"
_HOST_ROLES = (Role.START, Role.PROGRESS, Role.SUCCESS, Role.FAILURE)
_FIRST_HOST_CODE = (6, 8)
_FIRST_PORT = (5, 4)  # the oldest kernel that a vendor has brought TDX to
_FIRST_LINES = (
    "start",
    "s3",
    "kexec",
    "few-keyids",
    "hibernation",
    "notifier",
    "core-other",
    "not-supported",
)


@dataclass(frozen=True)
class LogMatch:
    """A log line with the row of the message table it matched."""

    message: Message
    line: LogLine
    match: re.Match[str]


class FactsView:
    """What the facts say, asked by name; a question that cannot be answered gives None."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.log = facts.log
        self.events: list[LogMatch] = []
        for line in facts.log.lines:
            found = classify(line.text)
            if found:
                self.events.append(LogMatch(found[0], line, found[1]))

    def fact(self, name: str) -> Fact:
        """A fact by name."""
        return self.facts.get(name)

    def flag(self, name: str) -> bool | None:
        """A fact that is yes or no."""
        value = self.fact(name).value
        return value if isinstance(value, bool) else None

    def number(self, name: str) -> int | None:
        """A fact that is a number."""
        value = self.fact(name).value
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def text(self, name: str) -> str | None:
        """A fact that is text."""
        value = self.fact(name).value
        return value if isinstance(value, str) else None

    def words(self, name: str) -> tuple[str, ...] | None:
        """A fact that is a list of words."""
        value = self.fact(name).value
        return value if isinstance(value, tuple) else None

    def has_flag(self, flag: str) -> bool | None:
        """Whether the CPU flags hold this whole word."""
        flags = self.words("cpu.flags")
        return None if flags is None else flag in flags

    def find(self, *ids: str) -> list[LogMatch]:
        """The log's events of these kinds."""
        return [event for event in self.events if event.message.id in ids]

    def reasons(self, code: str) -> list[LogMatch]:
        """The log's events that establish this reason code."""
        return [event for event in self.events if event.message.reason == code]

    def roles(self, *roles: Role) -> list[LogMatch]:
        """The log's events of these roles."""
        return [event for event in self.events if event.message.role in roles]

    @cached_property
    def log_readable(self) -> bool:
        """There is a kernel log with something in it."""
        return self.log.state is LogState.READ

    @cached_property
    def success(self) -> list[LogMatch]:
        """Success lines of this boot."""
        return self.roles(Role.SUCCESS)

    @cached_property
    def seamcalls(self) -> list[tuple[LogMatch, Seamcall]]:
        """Failed SEAMCALLs of the initialisation, decoded."""
        events = self.find("seamcall", "seamcall-6.5")
        return [(event, decode(event.match["leaf"], event.match["status"])) for event in events]

    @cached_property
    def errno(self) -> int | None:
        """The return value in the kernel's summary line."""
        found = self.find("failed")
        return int(found[-1].match["errno"]) if found else None

    @cached_property
    def keyid_range(self) -> tuple[int, int] | None:
        """The private KeyID range of the first line."""
        found = self.find("start")
        return (int(found[-1].match["low"]), int(found[-1].match["high"])) if found else None

    @cached_property
    def past_checks(self) -> bool:
        """The kernel got past its KeyID and hibernation checks in this boot."""
        return any(event.message.past_checks for event in self.events)

    @cached_property
    def release(self) -> str | None:
        """The kernel release, from facts or else from the log."""
        return self.text("kernel.release") or self._context("linux", "release")

    @cached_property
    def version(self) -> tuple[int, int] | None:
        """The kernel's version."""
        match = re.match(r"(\d{1,4})\.(\d{1,4})", self.release or "")
        return (int(match[1]), int(match[2])) if match else None

    @cached_property
    def plain_kernel(self) -> bool:
        """A distribution kernel of before 6.16, when KVM had no TDX upstream.

        A name alone is weak: MVP kernels and those of vendors are called ``-generic`` and ``-amd64`` too.
        """
        release = self.release or ""
        plain = _PLAIN_RELEASE.fullmatch(release) and not _VENDOR.search(release)
        if self.version is None or self.drives_module:
            return False
        return self.version < _FIRST_PORT or bool(plain and self.version < (6, 16))

    @cached_property
    def drives_module(self) -> bool:
        """The kernel's own words show code that starts the module.

        Plain kernels have none before 6.8, and up to 6.15 only the first lines (KeyIDs, hibernation, S3).
        """
        events = [e for e in self.events if e.message.role in _HOST_ROLES and e.message.heads == CORE_HEADS]
        if any(not event.line.text.startswith("virt/") for event in events):
            return True  # `tdx:` and `seam:` are of kernels from outside
        if self.version and self.version < _FIRST_HOST_CODE:
            return bool(events)
        return any(event.message.id not in _FIRST_LINES for event in events)

    @cached_property
    def unknown_words(self) -> list[LogMatch]:
        """Lines of the kernel's TDX code that no other row of the table knows: newer, or cut off."""
        return self.find("core-other", "kvm-other")

    @cached_property
    def said_later(self) -> list[LogMatch]:
        """Such lines behind the success line."""
        places = [number for number, event in enumerate(self.events) if event.message.role is Role.SUCCESS]
        return (
            [event for event in self.events[places[0] + 1 :] if event in self.unknown_words] if places else []
        )

    @cached_property
    def runtime_calls(self) -> list[tuple[LogMatch, Seamcall]]:
        """SEAMCALLs that failed after the initialisation, decoded."""
        events = self.find("run-seamcall", "run-tdh")
        if self.success:
            events += self.find("seamcall", "seamcall-6.5")
        return [(event, decode(event.match["leaf"], event.match["status"])) for event in events]

    @cached_property
    def module(self) -> ModuleVersion | None:
        """The version that the module reports, from the log or from sysfs."""
        found = self.find("version")
        if found:
            return of_match(found[-1].match)
        return of_text(self.text("module.version") or "")

    @cached_property
    def panic(self) -> str | None:
        """Why the kernel panicked in this boot."""
        found = self.roles(Role.PANIC)
        return str(found[0].match["why"]) if found else None

    @cached_property
    def cmdline(self) -> str | None:
        """The kernel command line, from facts or else from the log."""
        return self.text("kernel.cmdline") or self._context("cmdline", "cmdline")

    @cached_property
    def options(self) -> tuple[str, ...]:
        """The command line's words, plus `kvm_intel.tdx=1` for what modprobe.d sets."""
        words = tuple((self.cmdline or "").split())
        for line in self.words("kernel.modprobe") or ():
            module, *settings = line.split()[1:] or [""]
            words += tuple(f"{module}.{setting}" for setting in settings)
        return words

    @cached_property
    def requested(self) -> bool | None:
        """Whether `kvm_intel.tdx` is asked for; None when the command line is not known."""
        if self._values:
            return self._values[-1].lower() in ("", "1", "on", "y", "yes", "true")
        return None if self.cmdline is None else False

    @cached_property
    def switched_off(self) -> bool:
        """The command line gives `kvm_intel.tdx` a value, and it is off."""
        return bool(self._values) and self.requested is False

    @cached_property
    def _values(self) -> list[str]:
        return [value for key, value in map(_split, self.options) if key == _OPTION]

    @cached_property
    def typo(self) -> str | None:
        """A word of the command line that was probably meant to be `kvm_intel.tdx`."""
        for word in self.options:
            key = _split(word)[0]
            if (
                key != _OPTION
                and difflib.SequenceMatcher(None, key, _OPTION).ratio() >= 0.65
                and "tdx" in key
            ):
                return word
        return None

    @cached_property
    def machine(self) -> str | None:
        """The architecture, from facts or else from the compiler that the log names; None when not known."""
        if said := self.text("system.machine"):
            return said
        found = self.find("linux")
        compiler = _COMPILER.search(found[-1].line.text) if found else None
        return compiler[1] if compiler else "arm64" if self.find("arm") else None

    @cached_property
    def vendor(self) -> str | None:
        """``Intel``, ``AMD`` or another vendor's own word; None when not known."""
        vendor = self.text("cpu.vendor") or self._context("cpu", "name")
        if vendor is None:
            return "AMD" if self.find("amd") else None
        for name, words in _VENDORS:
            if words.search(vendor):
                return name
        return vendor if self.text("cpu.vendor") else None

    @cached_property
    def cpu_name(self) -> str:
        """The CPU's own name; empty when not known."""
        return self.text("cpu.name") or self._context("cpu", "name") or ""

    @cached_property
    def cpu_model(self) -> tuple[int | None, int | None]:
        """CPU family and model, from facts or else from the log."""
        family, model = self.number("cpu.family"), self.number("cpu.model")
        if (family is None or model is None) and self.find("cpu"):
            match = self.find("cpu")[-1].match
            family, model = int(match["family"], 16), int(match["model"], 16)
        return family, model

    @cached_property
    def xeon_6(self) -> bool:
        """A Xeon 6 (Granite Rapids, Sierra Forest), by model or by name."""
        return self.cpu_model in _XEON_6 or bool(re.search(r"(?i)\bXeon\(R\) 6\d{3}[EP]", self.cpu_name))

    @cached_property
    def tdx_cpu(self) -> bool | None:
        """Whether this CPU model exists with TDX; None when the model says nothing."""
        family, model = self.cpu_model
        if self.vendor not in (None, "Intel"):
            return False
        if _CLIENT.search(self.cpu_name):
            return False
        if family is None or model is None or self.vendor is None:
            return None
        models = TDX_MODELS.get(family, frozenset())
        if models is None or model in models:
            return True
        return False if family < 6 or (family == 6 and model < _FIRST_TDX_MODEL) else None

    def msr(self, number: int) -> list[int] | None:
        """The different values of an MSR over all CPUs; None when it could not be read."""
        values = self.words(f"msr.{number:#x}")
        return None if values is None else [int(value, 16) for value in values]

    def bit(self, number: int, bit: int) -> bool | None:
        """One bit of an MSR, false when any CPU has it clear."""
        values = self.msr(number)
        return None if values is None else all(value >> bit & 1 for value in values)

    def evidence(self, names: Iterable[str] = (), events: Iterable[LogMatch] = ()) -> list[tuple[str, str]]:
        """Pairs of source and raw value, for facts by name and for log lines."""
        pairs = [
            (fact.source, fact.raw if fact.value is not None else f"{fact.missing}: {fact.why}")
            for fact in map(self.fact, names)
        ]
        return pairs + [(self.log.source, event.line.text) for event in events]

    def _context(self, kind: str, group: str) -> str | None:
        found = self.find(kind)
        return found[-1].match[group] if found else None


def _split(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key.replace("-", "_"), value
