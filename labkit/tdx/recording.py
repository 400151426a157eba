"""Run a recorded trace again on a fresh platform, step by step.

What was done past the module's and the host's interfaces is not in a trace: tampering on the memory bus,
held locks, ordered failures, forced states.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from labkit.errors import DataError
from labkit.tdx._machine import PlatformConfig
from labkit.tdx._platform import Platform
from labkit.tdx._result import GuestException, TdExit
from labkit.tdx.trace import Event, Trace


def steps(trace: Trace) -> Iterator[tuple[Event, Platform]]:
    """Do one event after the other; yields each with the platform as it stands after it.

    Raises:
        DataError: the trace does not say on which platform it was recorded.
    """
    if trace.platform is None:
        raise DataError(
            "The trace names no platform to replay it on.", "Compare it with another trace instead."
        )
    platform = Platform(PlatformConfig.from_dict(trace.platform))
    for event in trace.events:
        _do(platform, event)
        yield event, platform


def replay(trace: Trace) -> Platform:
    """Do all events; the platform's own trace can be compared with the recorded one.

    Raises:
        DataError: see steps.
    """
    last = deque(steps(trace), maxlen=1)
    return last[0][1] if last else Platform()


def _do(platform: Platform, event: Event) -> None:
    if event.kind == "SEAMCALL":
        platform.seamcall(event.rax, event.lp, **event.regs)
    elif event.kind == "WRITE":
        platform.write(event.address, event.data, bool(event.regs.get("non_temporal")))
    elif platform.lps[event.lp].active is not None:
        _guest(platform, event)


def _guest(platform: Platform, event: Event) -> None:
    """Guest events; an exit or exception follows by itself, an interrupt is an event of its own."""
    try:
        if event.kind == "TDCALL":
            platform.tdcall(event.rax, event.lp, **event.regs)
        elif event.kind == "LOAD":
            platform.load(event.address, event.regs["size"], event.lp)
        elif event.kind == "STORE":
            platform.store(event.address, event.data, event.lp)
        elif event.kind == "EXIT":
            (platform.triple_fault if event.status >> 62 & 1 else platform.interrupt)(event.lp)
    except (TdExit, GuestException):
        return
