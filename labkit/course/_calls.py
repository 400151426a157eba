"""Calls of a student as data: a list that is recorded from the student's model and repeated on the grader's.

A call is ``{"leaf": name, "lp": number, "regs": {register: number}}``, a host write
``{"write": address, "data": hex}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from labkit.tdx import Platform, Result, Section, Store, Td, Vmm
from labkit.tdx.leaves import LEAVES

_MOST = 3000
_LARGEST_WRITE = 4096
CODE, DATA = 0x100000, 0x101000
_MR_EXTEND = 1


class HasParameters(Protocol):
    """A student's work."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the challenge says."""


@dataclass
class ModelMachine:
    """A model with its module started, a host that drives it, and perhaps a victim TD; all EMULATED."""

    host: Vmm
    td: Td | None
    start: int

    @property
    def platform(self) -> Platform:
        """The machine itself: ``seamcall``, ``write``."""
        return self.host.platform

    def calls(self) -> list[dict[str, Any]]:
        """What was done since the start, as an answer: calls of the host and its writes."""
        trace = self.platform.trace
        assert trace is not None
        rows: list[dict[str, Any]] = []
        for event in trace.events[self.start :]:
            if event.kind == "SEAMCALL":
                leaf = LEAVES[event.name].name if event.name in LEAVES else event.rax
                rows.append({"leaf": leaf, "lp": event.lp, "regs": dict(event.regs)})
            elif event.kind == "WRITE":
                rows.append({"write": event.address, "data": event.data.rstrip(b"\0").hex()})
        return rows


def started(skip: int, victim: bool = False) -> ModelMachine:
    """A machine for an exercise: the module is up, ``skip`` pages are used up, and a victim may run.

    The pages that are used up make each student's physical addresses their own.
    """
    host = Vmm(Platform()).start()
    for _ in range(skip):
        host.page()
    td = None
    if victim:
        sections = [Section(CODE, 0x1000, b"guest code", _MR_EXTEND), Section(DATA, 0x2000)]
        td = host.launch(sections, vcpus=2)
        host.run(td, _keep())
    trace = host.platform.trace
    return ModelMachine(host, td, len(trace) if trace is not None else 0)


def machine_of(work: HasParameters) -> ModelMachine:
    """A fresh machine for a student's work, as the grader will have it."""
    return started(int(work.parameters["skip"]), victim="first" in work.parameters)


def _keep() -> Any:
    yield Store(DATA, b"a secret")


def repeat(machine: ModelMachine, calls: Any) -> list[tuple[str, Result]]:
    """Do the calls of an answer on a machine; returns each SEAMCALL with what the module said.

    Raises:
        ValueError: it is not a list of calls; the message says where.
    """
    if not isinstance(calls, list) or len(calls) > _MOST:
        raise ValueError(f"write a list of at most {_MOST} calls")
    done: list[tuple[str, Result]] = []
    for number, row in enumerate(calls, 1):
        try:
            if "write" in row:
                data = bytes.fromhex(row["data"])
                if len(data) > _LARGEST_WRITE:
                    raise ValueError("it writes more than a page")
                machine.platform.write(int(row["write"]), data)
                continue
            leaf = str(row["leaf"])
            if leaf not in LEAVES:
                raise ValueError(f"there is no leaf {leaf[:40]!r}")
            regs = {str(name): int(value) & (1 << 64) - 1 for name, value in row.get("regs", {}).items()}
            done.append((leaf, machine.platform.seamcall(leaf, int(row.get("lp", 0)), **regs)))
        except Exception as error:
            raise ValueError(f"call {number} cannot be made ({error})") from None
    return done
