"""Which workers may take rows, and how many at once: decided from what each says of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from labkit import __version__

NOTEBOOK_MEMORY = 256
"""MiB that a row takes besides its TDVM: papermill, the kernel, and what a notebook loads."""


@dataclass(frozen=True)
class Worker:
    """A worker that answered.

    machine: names the host, where several workers are on one. memory: MiB that the host could still give.
    shared: it sees the sweep's folder. unfit: why it gets no row, in a clause; empty where it does.
    platform: what its TDVMs run on, and the trust; empty where it was not asked or cannot.
    """

    address: str
    node: str
    machine: str
    threads: int
    memory: int
    shared: bool
    unfit: str = ""
    platform: str = ""


def judge(address: str, threads: int, answer: Mapping[str, Any], kernel: str) -> Worker:
    """Whether a worker is fit for a notebook of that Jupyter kernel, from its answer to ``probe``."""
    labkit, missing = answer["labkit"], answer["missing"]
    if missing:
        unfit = f"the package {missing[0]} is not installed there"
    elif labkit is None:
        unfit = f"labkit is not installed there ({answer['broken']})"
    elif labkit != __version__:
        unfit = f"it has labkit {labkit}, and this is {__version__}"
    elif answer["broken"]:
        unfit = f"its labkit does not load ({answer['broken']})"
    elif kernel not in answer["kernels"]:
        unfit = f"the Jupyter kernel {kernel} is not installed there"
    else:
        unfit = ""
    return Worker(
        address=address,
        node=str(answer["node"]),
        machine=str(answer["machine"]),
        threads=threads,
        memory=int(answer["memory"]),
        shared=bool(answer["shared"]),
        unfit=unfit,
    )


def rows_that_fit(worker: Worker, need: int) -> int:
    """How many rows of ``need`` MiB the worker's host holds; one is always tried."""
    return max(1, worker.memory // need)


def assign(
    rows: Iterable[int], running: Mapping[int, str], workers: Mapping[str, Worker], need: int
) -> list[tuple[int, str]]:
    """Give waiting rows to workers, the idlest first, no more than threads and memory hold.

    running: the rows under way and their workers' addresses. need: MiB that a row may take.
    """
    fit = {address: worker for address, worker in workers.items() if not worker.unfit}
    load = Counter(running.values())
    hosts = Counter(fit[address].machine for address in running.values() if address in fit)
    given = []
    for row in rows:
        free = [
            worker
            for worker in fit.values()
            if load[worker.address] < worker.threads and hosts[worker.machine] < rows_that_fit(worker, need)
        ]
        if not free:
            break
        best = min(free, key=lambda worker: (load[worker.address], hosts[worker.machine], worker.address))
        load[best.address] += 1
        hosts[best.machine] += 1
        given.append((row, best.address))
    return given
