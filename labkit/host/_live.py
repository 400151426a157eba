"""Facts that only the running machine can give: its log, KVM's own answer, programs, MSRs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO

from labkit.errors import MissingComponent
from labkit.host._log import MAX_BYTES, read_log
from labkit.host._model import UNREAD_LOG, Fact, KernelLog, LogState
from labkit.process import run


def live_facts(known: Mapping[str, Fact]) -> dict[str, Fact]:
    """What the running machine answers."""
    return {}


def live_log() -> KernelLog:
    """The kernel log of the running machine: the ring buffer, else the journal."""
    ring = _ring_buffer()
    if ring.state is LogState.READ and (ring.from_boot or ring.lines):
        return ring
    journal = _journal()
    return journal if journal.state is LogState.READ else ring


def _ring_buffer() -> KernelLog:
    source = "/dev/kmsg"
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return KernelLog(LogState.UNREADABLE, source, why=f"{source}: {error.strerror}")
    records, size = [], 0
    try:
        while size < MAX_BYTES:
            try:
                record = os.read(descriptor, 8192)
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue  # the record was overwritten meanwhile; the next read gives the oldest one left
            if not record:
                break
            records.append(record.partition(b"\n")[0] + b"\n")
            size += len(record)
    except OSError as error:
        return KernelLog(LogState.UNREADABLE, source, why=f"{source}: {error.strerror}")
    finally:
        os.close(descriptor)
    return read_log(BytesIO(b"".join(records)), source)


def _journal() -> KernelLog:
    source = "journalctl -k -b"
    try:
        done = run(["journalctl", "-k", "-b", "-o", "short-monotonic", "--no-pager", "-q"], timeout=2.0)
    except MissingComponent:
        return UNREAD_LOG
    if not done.ok or not done.stdout.strip():
        return KernelLog(LogState.UNREADABLE, source, why="the journal shows this login no kernel messages")
    return read_log(BytesIO(done.stdout), source)
