"""Traces: saved, loaded, replayed, compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labkit.errors import DataError
from labkit.tdx import (
    GuestException,
    HostileVmm,
    Platform,
    PlatformConfig,
    Section,
    TdParams,
    Trace,
    Vmm,
    compare,
    replay,
)
from labkit.tdx.recording import steps
from labkit.tdx.trace import KINDS

_HEAD = '{"format": "labkit-tdx-trace", "version": 1, "source": "x", '


def _run(seed: int = 0) -> Trace:
    host = Vmm(Platform(PlatformConfig(seed=seed))).start()
    td = host.launch([Section(0x1000, 0x2000, b"code", 1)], params=TdParams(attributes=0))
    platform = host.platform
    assert platform.seamcall("TDH.VP.ENTER", rcx=td.vcpus[0]).running
    platform.store(0x1100, b"data")
    assert platform.load(0x1100, 4) == b"data"
    host_page = host.aug
    platform.interrupt()
    host_page(td, 0x5000)
    platform.seamcall("TDH.VP.ENTER", rcx=td.vcpus[0])
    with pytest.raises(GuestException):
        platform.load(0x5000, 1)
    platform.tdcall("TDG.VP.VEINFO.GET")
    platform.tdcall("TDG.MEM.PAGE.ACCEPT", rcx=0x5000)
    platform.interrupt()
    host.teardown(td)
    assert platform.trace is not None
    return platform.trace


def test_save_load_replay(tmp_path: Path) -> None:
    trace = _run()
    loaded = Trace.load(trace.save(tmp_path / "run.json"))
    assert compare(trace, loaded, KINDS) is None
    again = replay(loaded)
    assert again.trace is not None
    assert compare(trace, again.trace, KINDS) is None
    assert [e.to_dict() for e in again.trace.events] == [e.to_dict() for e in trace.events]
    assert again.trace.to_json() == trace.to_json()


def test_steps_show_the_platform_as_it_grows() -> None:
    counts = [len(platform.tdrs) for _, platform in steps(_run())]
    assert counts[0] == 0
    assert max(counts) == 1
    assert counts[-1] == 0


def test_a_dying_td_replays_too() -> None:
    hostile = HostileVmm()
    hostile.corrupt()
    trace = hostile.platform.trace
    assert trace is not None
    again = replay(trace).trace
    assert again is not None
    assert compare(trace, again, KINDS) is None


def test_comparison_finds_the_first_difference() -> None:
    one, two = _run(), _run()
    two.events[7].status = 0xC000010000000001
    difference = compare(one, two)
    assert difference is not None
    assert difference.step == 7
    assert "OPERAND_INVALID" in str(difference)
    two = _run()
    two.events[1].rax = 99
    assert "the call is" in str(compare(one, two))
    two = _run()
    two.events = [event for event in two.events if event.kind != "SEAMCALL"]
    assert "number of calls" in str(compare(one, two))
    two = _run()
    two.events[7].status |= 5
    assert compare(one, two) is None


def test_a_trace_of_a_real_host_needs_calls_only() -> None:
    model = _run()
    events = [
        {"kind": "SEAMCALL", "leaf": e.rax, "regs": e.regs, "status": f"{e.status:#x}"}
        for e in model.events
        if e.kind == "SEAMCALL"
    ]
    text = json.dumps({"format": "labkit-tdx-trace", "version": 1, "source": "a host", "events": events})
    host = Trace.from_json(text)
    assert host.source == "a host"
    assert compare(host, model) is None
    with pytest.raises(DataError, match="platform"):
        replay(host)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": "other", "version": 1}',
        '{"format": "labkit-tdx-trace", "version": 2, "source": "x", "events": []}',
        '{"format": "labkit-tdx-trace", "version": 1, "source": "x", "events": [{"kind": "?"}]}',
        _HEAD + '"events": [{"kind": "WRITE", "data": "no"}]}',
        _HEAD + '"events": [7]}',
    ],
)
def test_what_is_no_trace_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        Trace.from_json(text)


def test_a_platform_without_trace_records_nothing() -> None:
    assert Vmm(Platform(trace=False)).start().platform.trace is None


def test_events_are_plain_data() -> None:
    trace = _run()
    rows = [event.to_dict() for event in trace.events]
    json.dumps(rows)
    assert rows[0]["name"] == "TDH.SYS.INIT"
    assert {row["kind"] for row in rows} <= KINDS
    assert "events" in repr(trace)
    assert len(trace) == len(rows)
