"""How fast the TDX model is: leaves per second, and the launch of a 2 MiB TDVF.

Prints a table, writes JSON with --output. Each figure is the best and the median of several runs; the launch
stands beside a plain hashlib loop over the same bytes in the same run (the paired ratio).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform as host_platform
import statistics
import struct
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labkit.tdx import Order, Platform, Section, Td, Vmm

GOALS = {"leaves per second": 50_000, "launch seconds": 0.5}
OVMF = Path("/usr/share/ovmf/OVMF.fd")


def sections() -> tuple[str, list[Section]]:
    """Debian's OVMF where it is installed, else 2 MiB of the same shape."""
    if not OVMF.is_file():
        image = bytes(range(256)) * 0x1E00
        return "made-up 2 MiB image", [Section(0xFFE20000, 0x1E0000, image, 1), Section(0xFFE00000, 0x20000)]
    image = OVMF.read_bytes()
    marker = image.rfind(uuid.UUID("e9eaf9f3-168e-44d5-a8eb-7f4d8738f6ae").bytes_le)
    count = struct.unpack_from("<I", image, marker + 28)[0]
    rows = [struct.unpack_from("<IIQQII", image, marker + 32 + 32 * i) for i in range(count)]
    return str(OVMF), [Section(gpa, size, image[at : at + raw], bits) for at, raw, gpa, size, _, bits in rows]


def hash_only(image: list[Section]) -> bytes:
    """MRTD by hashlib alone: what no launch can be faster than."""
    digest = hashlib.sha384()
    for section in image:
        data = section.data.ljust(section.memory_size, b"\0")
        for offset in range(0, section.memory_size, 4096):
            gpa = section.gpa + offset
            digest.update(b"MEM.PAGE.ADD".ljust(16, b"\0") + struct.pack("<Q", gpa) + bytes(104))
            for at in range(0, 4096 if section.attributes & 1 else 0, 256):
                head = b"MR.EXTEND".ljust(16, b"\0") + struct.pack("<Q", gpa + at) + bytes(104)
                digest.update(head + data[offset + at : offset + at + 256])
    return digest.digest()


def _ready(trace: bool) -> tuple[Vmm, Td]:
    host = Vmm(Platform(trace=trace)).start()
    td = host.launch([Section(0x1000, 0x1000, b"code", 1)])
    host.tables(td, 0x200000)
    return host, td


def page_cycle(trace: bool, rounds: int = 4000) -> float:
    """AUG, BLOCK, TRACK, REMOVE over and over: leaves per second."""
    host, td = _ready(trace)
    call, tdr, page = host.platform.seamcall, td.tdr, host.page()
    start = time.perf_counter()
    for _ in range(rounds):
        call("TDH.MEM.PAGE.AUG", rcx=0x200000, rdx=tdr, r8=page)
        call("TDH.MEM.RANGE.BLOCK", rcx=0x200000, rdx=tdr)
        call("TDH.MEM.TRACK", rcx=tdr)
        call("TDH.MEM.PAGE.REMOVE", rcx=0x200000, rdx=tdr)
    seconds = time.perf_counter() - start
    assert host.platform.seamcall("TDH.MEM.SEPT.RD", rcx=0x200000, rdx=tdr)["rdx"] == 0
    return 4 * rounds / seconds


def refusals(trace: bool, rounds: int = 16000) -> float:
    """Calls that are refused late: leaves per second."""
    host, td = _ready(trace)
    call, tdr, page = host.platform.seamcall, td.tdr, host.page()
    start = time.perf_counter()
    for _ in range(rounds):
        call("TDH.MEM.PAGE.AUG", rcx=0x1000, rdx=tdr, r8=page)
    return rounds / (time.perf_counter() - start)


def round_trips(trace: bool, rounds: int = 6000) -> float:
    """VP.ENTER, TDG.VP.INFO and an interrupt: module calls per second, the exit not counted."""
    host, td = _ready(trace)
    platform, vcpu = host.platform, td.vcpus[0]
    start = time.perf_counter()
    for _ in range(rounds):
        platform.seamcall("TDH.VP.ENTER", rcx=vcpu)
        platform.tdcall("TDG.VP.INFO")
        platform.interrupt()
    return 2 * rounds / (time.perf_counter() - start)


def launch(image: list[Section], order: Order, trace: bool) -> float:
    """Seconds from MNG.CREATE to MR.FINALIZE."""
    host = Vmm(Platform(trace=trace)).start()
    start = time.perf_counter()
    td = host.launch(image, order)
    seconds = time.perf_counter() - start
    if order is Order.SINGLE_PASS:
        assert host.mrtd(td) == hash_only(image)
    return seconds


def _timed(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _row(name: str, unit: str, values: list[float], goal: float | None, higher: bool) -> dict[str, Any]:
    best = max(values) if higher else min(values)
    median = statistics.median(values)
    met = None if goal is None else (median >= goal if higher else median <= goal)
    return {"name": name, "unit": unit, "best": best, "median": median, "goal": goal, "met": met}


def measure(runs: int) -> dict[str, Any]:
    """All figures."""
    name, image = sections()
    rows = []
    for title, function in (
        ("page cycle", page_cycle),
        ("refused calls", refusals),
        ("enter, TDCALL, exit", round_trips),
    ):
        for trace in (True, False):
            values = [function(trace) for _ in range(runs)]
            label = f"{title}, {'traced' if trace else 'no trace'}"
            rows.append(_row(label, "leaves/s", values, GOALS["leaves per second"], higher=True))
    ratios = []
    for order in Order:
        values = [launch(image, order, trace=True) for _ in range(runs)]
        rows.append(_row(f"launch {order}", "s", values, GOALS["launch seconds"], higher=False))
    ratios += [
        launch(image, Order.SINGLE_PASS, trace=True) / _timed(lambda: hash_only(image)) for _ in range(runs)
    ]
    rows.append(_row("launch / hashing alone", "ratio", ratios, None, higher=False))
    return {
        "benchmark": "tdx",
        "image": name,
        "runs": runs,
        "python": host_platform.python_version(),
        "machine": host_platform.machine(),
        "results": rows,
    }


def main() -> None:
    """Run, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    arguments = parser.parse_args()
    report = measure(arguments.runs)
    print(f"image: {report['image']}")
    for row in report["results"]:
        goal = (
            "" if row["goal"] is None else f"  goal {row['goal']:>8g}  {'met' if row['met'] else 'NOT met'}"
        )
        print(
            f"{row['name']:32} {row['unit']:9} median {row['median']:>10.4g}  best {row['best']:>10.4g}{goal}"
        )
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
