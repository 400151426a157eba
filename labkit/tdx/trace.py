"""The trace: every call, guest access and host write in order, as JSON that can be replayed or compared.

The same form takes a trace recorded on a real host: events of kind SEAMCALL need a leaf, registers and a
status; everything else is optional. Bytes are kept once each, compressed, and named by their hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit.errors import DataError
from labkit.tdx.leaves import SEAMCALLS, TDCALLS
from labkit.tdx.status import decode

FORMAT = "labkit-tdx-trace"
VERSION = 1
KINDS = frozenset({"SEAMCALL", "TDCALL", "EXIT", "LOAD", "STORE", "WRITE", "#VE", "#PF", "#DF"})


@dataclass(slots=True)
class Event:
    """One step. rax: the leaf with version; regs in, out registers out; address and data for memory."""

    kind: str
    lp: int
    rax: int = 0
    regs: dict[str, int] = field(default_factory=dict)
    status: int = 0
    out: dict[str, int] = field(default_factory=dict)
    address: int = 0
    data: bytes = b""

    @property
    def name(self) -> str:
        """The leaf's name, or the kind of event."""
        table = {"SEAMCALL": SEAMCALLS, "TDCALL": TDCALLS}.get(self.kind)
        if table is None:
            return self.kind
        leaf = table.get(self.rax & 0xFFFF)
        return leaf.name if leaf else f"leaf {self.rax:#x}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for views: numbers as numbers, bytes as hex."""
        answer = decode(self.status)
        return {
            "kind": self.kind,
            "lp": self.lp,
            "name": self.name,
            "regs": self.regs,
            "status": f"{self.status:#018x}",
            "answer": answer.name + (f" | {answer.operand}" if answer.operand else ""),
            "error": answer.error,
            "out": self.out,
            "address": self.address,
            "size": len(self.data),
        }


@dataclass(frozen=True)
class Difference:
    """The first step at which two traces part."""

    step: int
    what: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"step {self.step}: {self.what} is {self.actual}, expected {self.expected}"


class Trace:
    """The events of one run, and the configuration of the platform they ran on."""

    def __init__(self, platform: dict[str, Any] | None = None, source: str = "model") -> None:
        self.platform = platform
        self.source = source
        self.events: list[Event] = []

    def __len__(self) -> int:
        return len(self.events)

    def __repr__(self) -> str:
        return f"<Trace of {len(self.events)} events, source {self.source}>"

    def call(
        self, kind: str, lp: int, rax: int, regs: dict[str, int], status: int, out: dict[str, int]
    ) -> int:
        """Add a call; returns its number, for amend."""
        self.events.append(Event(kind, lp, rax, regs, status, out))
        return len(self.events) - 1

    def amend(self, number: int, status: int, out: dict[str, int]) -> None:
        """Set the answer of a call that was added before it had one."""
        event = self.events[number]
        event.status, event.out = status, out

    def memory(self, kind: str, lp: int, address: int, data: bytes, **about: int) -> int:
        """Add a memory access; returns its number."""
        self.events.append(Event(kind, lp, regs=about, address=address, data=data))
        return len(self.events) - 1

    def note(self, kind: str, lp: int, address: int) -> None:
        """Add an exception in the guest."""
        self.events.append(Event(kind, lp, address=address))

    # JSON.

    def to_json(self) -> str:
        """The whole trace as one JSON document."""
        blobs: dict[str, str] = {}
        events = []
        for event in self.events:
            row: dict[str, Any] = {"kind": event.kind, "lp": event.lp}
            if event.kind in ("SEAMCALL", "TDCALL"):
                row["leaf"] = event.rax
                row["regs"] = event.regs
            if event.kind in ("SEAMCALL", "TDCALL", "EXIT"):
                row["status"] = f"{event.status:#018x}"
                row["out"] = event.out
            else:
                row["address"] = event.address
                if event.regs:
                    row["regs"] = event.regs
            if event.data:
                row["data"] = name = hashlib.sha256(event.data).hexdigest()[:32]
                blobs.setdefault(name, base64.b64encode(zlib.compress(event.data)).decode())
            events.append(row)
        head = {
            "format": FORMAT,
            "version": VERSION,
            "source": self.source,
            "emulated": self.source == "model",
        }
        return json.dumps({**head, "platform": self.platform, "blobs": blobs, "events": events})

    def save(self, path: Path) -> Path:
        """Write the JSON document to a file."""
        path.write_text(self.to_json(), encoding="utf-8")
        return path

    @classmethod
    def from_json(cls, text: str) -> Trace:
        """Read a JSON document.

        Raises:
            DataError: not JSON, another format or version, or an event that is not well formed.
        """
        try:
            document = json.loads(text)
            if document["format"] != FORMAT or document["version"] != VERSION:
                raise DataError(
                    f"The trace has format {document['format']!r}, version {document['version']!r}.",
                    f"This labkit reads {FORMAT} version {VERSION}.",
                )
            trace = cls(document.get("platform"), str(document["source"]))
            blobs = document.get("blobs", {})
            trace.events = [_event(row, blobs) for row in document["events"]]
        except (ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
            raise DataError(
                f"The trace is not well formed ({error.__class__.__name__}: {error}).", "Record it again."
            ) from None
        return trace

    @classmethod
    def load(cls, path: Path) -> Trace:
        """Read a trace from a file.

        Raises:
            DataError: see from_json.
        """
        return cls.from_json(path.read_text(encoding="utf-8"))


def _event(row: dict[str, Any], blobs: dict[str, str]) -> Event:
    kind = row["kind"]
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}")
    return Event(
        kind=kind,
        lp=int(row.get("lp", 0)),
        rax=int(row.get("leaf", 0)),
        regs={str(name): int(value) for name, value in row.get("regs", {}).items()},
        status=int(str(row.get("status", "0")), 0),
        out={str(name): int(value) for name, value in row.get("out", {}).items()},
        address=int(row.get("address", 0)),
        data=zlib.decompress(base64.b64decode(blobs[row["data"]])) if "data" in row else b"",
    )


def compare(
    expected: Trace, actual: Trace, kinds: frozenset[str] = frozenset({"SEAMCALL"})
) -> Difference | None:
    """The first difference in leaf or status among events of some kinds; None where the traces agree.

    Statuses are compared by their upper half, as Intel's specification asks.
    """
    left = [(i, e) for i, e in enumerate(expected.events) if e.kind in kinds]
    right = [(i, e) for i, e in enumerate(actual.events) if e.kind in kinds]
    for (step, one), (_, two) in zip(left, right, strict=False):
        if (one.kind, one.rax) != (two.kind, two.rax):
            return Difference(step, "the call", one.name, two.name)
        if one.status >> 32 != two.status >> 32:
            what = f"the answer of {one.name}"
            return Difference(step, what, decode(one.status).name, decode(two.status).name)
    if len(left) != len(right):
        step = min(len(left), len(right))
        return Difference(step, "the number of calls", str(len(left)), str(len(right)))
    return None
