"""What may keep a TD from running on a host whose module is up: read, judged, and said beside the verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from labkit.host._finding import Pair
from labkit.host.host_rules import UPDATE_MODULE
from labkit.host.view import FactsView

_NEWER = "Update the TDX module, and take kernel and QEMU from one source; then start the TD again."
_ESXI = "Update ESXi, and the BIOS with the TDX module in it; take the status above to their support."
_MEMORY = "Update kernel and TDX module, and read the machine's memory error log (`ras-mc-ctl --errors`)."
_PANIC = "Mend what made the kernel panic first; boot again, and run `labkit verify` then."


@dataclass(frozen=True)
class Concern:
    """One of them: a sentence, what to do, and the lines it rests on."""

    text: str
    action: str
    evidence: tuple[Pair, ...]

    def to_dict(self) -> dict[str, Any]:
        """The sentence, the action and the evidence as JSON types."""
        return {
            "text": self.text,
            "action": self.action,
            "evidence": [{"source": source, "value": value} for source, value in self.evidence],
        }


def concerns(view: FactsView) -> tuple[Concern, ...]:
    """All of them, the most telling first."""
    found = (*_module(view), *_calls(view), *_exits(view), *_memory(view), *_panic(view), *_later(view))
    return tuple(Concern(text, action, tuple(evidence)) for text, action, evidence in found)


_Found = Iterator[tuple[str, str, list[Pair]]]


def _module(view: FactsView) -> _Found:
    module = view.module
    if module and module.older_than:
        yield (
            f"The TDX module is {module}, older than {module.older_than}: with such a module TDs may not "
            f"start.",
            UPDATE_MODULE,
            view.evidence(("module.version",) if not view.find("version") else (), view.find("version")),
        )


def _calls(view: FactsView) -> _Found:
    seen = set()
    for event, call in view.runtime_calls:
        if call.harmless or (call.leaf, call.status) in seen:
            continue
        seen.add((call.leaf, call.status))
        action = _ESXI if event.line.text.startswith("vmkernel: ") else call.action or _NEWER
        yield f"At run time {call}.", action, view.evidence((), [event])


def _exits(view: FactsView) -> _Found:
    for event in view.find("run-exit")[:1]:
        yield (
            f"A TD ended with an exit that KVM does not know (hardware reason {event.match['reason']}): "
            f"kernel, QEMU "
            "and TDX module do not fit each other.",
            _NEWER,
            view.evidence((), [event]),
        )
    for event in view.find("run-init")[:1]:
        yield (
            f"KVM refused to build a TD: {event.match['call']} failed with "
            f"{event.match['why'].strip().rstrip('.')}.",
            _NEWER,
            view.evidence((), [event]),
        )


def _memory(view: FactsView) -> _Found:
    for event in view.find("run-poison")[:1]:
        yield "The processor met poisoned private memory of a TD.", _MEMORY, view.evidence((), [event])
    for event in view.find("tme-differs")[:1]:
        yield (
            "The kernel says that the TME configuration differs between CPUs.",
            "Update the BIOS and load its defaults, so that all CPU packages are set up alike; then cold "
            "boot.",
            view.evidence((), [event]),
        )


def _panic(view: FactsView) -> _Found:
    events = [event for event in view.events if event.message.id == "panic"]
    if view.panic is not None:
        yield (
            f"The kernel panicked in this boot: {view.panic.rstrip('.')}.",
            _PANIC,
            view.evidence((), events[:1]),
        )


def _later(view: FactsView) -> _Found:
    for event in view.find("run-update")[-1:]:
        yield (
            f"An update of the TDX module at run time did not work: `{event.line.text[:120]}`.",
            "Cold boot: a failed update can leave the host without a module. Then try module files that "
            "fit the BIOS.",
            view.evidence((), [event]),
        )
    for event in view.said_later[:1]:
        yield (
            "After the module came up, the kernel's TDX code said what labkit does not know: "
            f"`{event.line.text[:120]}`.",
            "Read that line: it may say that the module was shut down or updated. "
            "A cold boot starts TDX anew.",
            view.evidence((), [event]),
        )
