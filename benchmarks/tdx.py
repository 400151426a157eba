"""How fast the TDX model is: leaves per second, and the launch of a 2 MiB TDVF.

Goals: 50,000 leaves a second, a launch within 0.5 s. The launch stands beside a plain hashlib loop over the
same bytes, timed in turn; ``of peer`` is the peer's time divided by ours.
"""

from __future__ import annotations

import hashlib
import struct
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from _report import middle, paired, report

from labkit.tdx import Platform, Section, Td, Vmm
from labkit.tdx.vmm import Order

LEAVES_GOAL = 50_000
LAUNCH_GOAL = 0.5
ROUNDS = 5
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


def launch(image: list[Section], order: Order) -> Vmm:
    """A VMM that is ready, up to MR.FINALIZE of a TD; with a trace, as everybody uses it."""
    host = Vmm(Platform()).start()
    td = host.launch(image, order)
    if order is Order.SINGLE_PASS:
        assert host.mrtd(td) == hash_only(image)
    return host


def leaf_rows() -> list[dict[str, Any]]:
    """Leaves per second: the median of some runs, with and without a trace."""
    rows = []
    measures: dict[str, Callable[[bool], float]] = {
        "AUG, BLOCK, TRACK, REMOVE": page_cycle,
        "AUG refused by the entry's state": refusals,
        "VP.ENTER, TDG.VP.INFO, exit": round_trips,
    }
    for what, function in measures.items():
        for trace in (True, False):
            rate = median(function(trace) for _ in range(ROUNDS))
            rows.append(
                {
                    "what": f"{what}, {'traced' if trace else 'no trace'}",
                    "ours": f"{rate:,.0f} leaves/s",
                    "of peer": "-",
                    "goal": f"{LEAVES_GOAL:,} {'met' if rate >= LEAVES_GOAL else 'NOT met'}",
                }
            )
    return rows


def launch_rows() -> list[dict[str, Any]]:
    """Seconds of a launch, the module's start included, beside hashing the same bytes."""
    name, image = sections()
    rows = []
    for order in Order:
        ours, _, ratio = middle(paired(partial(launch, image, order), partial(hash_only, image), ROUNDS))
        rows.append(
            {
                "what": f"launch of {name}, {order}",
                "ours": f"{ours:.3f} s",
                "of peer": f"{1 / ratio:.2f}",
                "goal": f"{LAUNCH_GOAL} s {'met' if ours <= LAUNCH_GOAL else 'NOT met'}",
            }
        )
    return rows


def main() -> None:
    """Measure, print, save."""
    report("tdx", [*leaf_rows(), *launch_rows()])


if __name__ == "__main__":
    main()
