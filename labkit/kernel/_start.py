"""The TDVM of a kernel begins to boot before Jupyter's machinery is imported."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from labkit.kernel._session import Session
from labkit.platforms import Tdvm
from labkit.settings import Settings


@dataclass
class Starting:
    """A session, the one thread that talks to its guest, and the boot that runs there first.

    progress: what the boot has said so far, one stage a line.
    """

    session: Session
    worker: ThreadPoolExecutor
    boot: Future[Tdvm]
    progress: list[str] = field(default_factory=list)


def start(settings: Settings) -> Starting:
    """Begin to boot a TDVM; whether that works is asked of ``boot`` later."""
    session, worker = Session(settings), ThreadPoolExecutor(1, "labkit-guest")
    progress: list[str] = []
    return Starting(session, worker, worker.submit(session.tdvm, progress.append), progress)
