"""The TDVM of a kernel begins to boot before Jupyter's machinery is imported."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from labkit.kernel.session import GuestSession
from labkit.platforms import Tdvm
from labkit.settings import Settings


@dataclass
class Starting:
    """A session, and the boot of its guest, which runs in a thread of its own.

    progress: what the boot has said so far, one stage a line.
    """

    session: GuestSession
    boot: Future[Tdvm]
    progress: list[str] = field(default_factory=list)


def start(settings: Settings) -> Starting:
    """Begin to boot a TDVM; whether that works is asked of ``boot`` later."""
    session, worker = GuestSession(settings), ThreadPoolExecutor(1, "labkit-boot")
    progress: list[str] = []
    boot = worker.submit(session.tdvm, progress.append)
    worker.shutdown(wait=False)
    return Starting(session, boot, progress)
