"""Many TDVMs of one request at once: the first leaves a snapshot, and the others share its memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from labkit.console import CommandResult
from labkit.errors import UsageError
from labkit.platforms._platform import TdvmPlatform
from labkit.platforms._tdvm import Tdvm
from labkit.platforms.request import BootRequest
from labkit.show import columns
from labkit.show.markup import join, pre, table
from labkit.vm.memory import check_memory
from labkit.vm.rundir import running

MOST = 1000
"""TDVMs at once; before that many, memory ends."""

_HEAD = ("TDVM", "BOOT", "SECONDS", "MEMORY")


@dataclass(frozen=True)
class Tdvms:
    """TDVMs that run at once; use them as a context manager, or call ``close``."""

    tdvms: tuple[Tdvm, ...]

    def __len__(self) -> int:
        return len(self.tdvms)

    def __iter__(self) -> Iterator[Tdvm]:
        return iter(self.tdvms)

    def __getitem__(self, number: int) -> Tdvm:
        return self.tdvms[number]

    def run(self, command: str, timeout: float | None = 60.0) -> list[CommandResult]:
        """Run a command in each of them, one after the other; see ``Tdvm.run``."""
        return [tdvm.run(command, timeout) for tdvm in self.tdvms]

    @property
    def memory(self) -> int:
        """Bytes of this machine's memory that they take; what several share counts once."""
        return sum(tdvm.machine.memory_taken() for tdvm in self.tdvms)

    def to_dict(self) -> dict[str, Any]:
        """The document of ``labkit boot --count --json``."""
        each = [
            {**tdvm.to_dict(), "name": tdvm.machine.name, "memory_taken": tdvm.machine.memory_taken()}
            for tdvm in self.tdvms
        ]
        return {"count": len(each), "memory_taken": sum(one["memory_taken"] for one in each), "tdvms": each}

    def close(self) -> None:
        """Record and end every one, whatever becomes of another."""
        with contextlib.ExitStack() as ends:
            for tdvm in self.tdvms:
                ends.callback(tdvm.close)

    def __enter__(self) -> Tdvms:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.ExitStack() as ends:
            for tdvm in self.tdvms:
                ends.push(tdvm.__exit__ if kind is None else _abandon(tdvm))

    def __repr__(self) -> str:
        return f"Tdvms({len(self.tdvms)})"

    def __str__(self) -> str:
        return f"{columns([_HEAD, *self._rows()])}\n{self._summary()}"

    def _repr_html_(self) -> str:
        return join([table(self._rows(), head=_HEAD), pre(self._summary())])

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                tdvm.machine.name,
                "cold" if tdvm.cold else "warm",
                f"{tdvm.timeline.seconds:.2f}",
                f"{tdvm.machine.memory_taken() >> 20} MiB",
            )
            for tdvm in self.tdvms
        ]

    def _summary(self) -> str:
        return f"{len(self.tdvms)} TDVMs take {self.memory >> 20} MiB; what they share counts once."


def _abandon(tdvm: Tdvm) -> Callable[[object, object, object], None]:
    return lambda kind, error, trace: tdvm.abandon()


def boot_many(
    platform: TdvmPlatform,
    request: BootRequest,
    count: int,
    on_progress: Callable[[str], None] = lambda text: None,
    keep_in: Path | None = None,
) -> Tdvms:
    """Boot ``count`` TDVMs, each with a name, randomness and clock of its own; all run when this returns.

    Raises:
        UsageError: they do not fit into the memory of this machine.
        As ``TdvmPlatform.boot``: one does not come up; then the others have ended too.
    """
    if not 1 <= count <= MOST:
        raise UsageError(f"{count} is not a number of TDVMs that labkit boots.", f"Ask for 1 to {MOST}.")
    memory = platform.plan(request, platform.toolchain()).spec.memory
    settings = platform.settings
    check_memory(memory, running(settings), count=count, budget=settings.memory_budget)
    with contextlib.ExitStack() as undo:
        booted = []
        for number in range(1, count + 1):
            on_progress(f"TDVM {number} of {count}")
            tdvm = platform.boot(request, on_progress if number == 1 else lambda text: None, keep_in)
            undo.callback(tdvm.abandon)
            tdvm.machine.take_name()
            booted.append(tdvm)
        undo.pop_all()
    return Tdvms(tuple(booted))
