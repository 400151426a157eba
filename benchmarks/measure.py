"""Measurement and verification beside the bare operations under them.

Goals: MRTD at least 0.5 of SHA-384 over the same bytes, verification at least 0.95 of the bare library, two
processes at least 1.8 times one. ``of peer`` is the peer's time divided by ours. What computes in one process
is timed in seconds of its processor; processes are timed by the wall clock, beside the bare library in as
many processes, which shows what this machine gives two of them at this moment. Where other sessions keep both
processors busy, root gets a true figure with ``echo -15 > /proc/self/autogroup`` in the shell that starts it.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import dcap_qvl
from _report import middle, paired, report, seconds

from labkit.attest import LabAuthority, make_tdreport, parse_quote, verify_quote
from labkit.attest.verify import verifier_pool
from labkit.measure import PageOrder, mrtd, parse_log, read_tdvf, replay_pcrs, rtmrs

ROOT = Path(__file__).resolve().parents[1]
OVMF = Path("/usr/share/ovmf/OVMF.fd")
NOW = 1_795_348_800
ROUNDS = 25
QUOTES = 2000
PROCESS_ROUNDS = 9


def main() -> None:
    """Time each operation beside its peer."""
    report("measure", [*mrtd_rows(), *verify_rows(), *process_rows(), *log_rows()])


def row(
    what: str, peer: str, pairs: list[tuple[float, float]], repeat: int, goal: str = ""
) -> dict[str, Any]:
    """One line: milliseconds of one operation, and how it stands to its peer."""
    ours, theirs, ratio = middle(pairs)
    return {
        "what": what,
        "ms": ours / repeat * 1000,
        "a second": str(round(repeat / ours)),
        "peer": peer,
        "peer ms": theirs / repeat * 1000,
        "of peer": 1 / ratio,
        "goal": goal,
    }


def repeated(action: Callable[[], object], count: int) -> Callable[[], object]:
    """The action done ``count`` times, so that the clock's grain does not count."""

    def run() -> None:
        for _ in range(count):
            action()

    return run


def mrtd_rows() -> list[dict[str, Any]]:
    """MRTD of OVMF beside SHA-384 of as many bytes as it hashes, and of the content (two thirds of them)."""
    if not OVMF.is_file():
        return []
    tdvf = read_tdvf(OVMF.read_bytes())
    content = b"".join(tdvf.data(section) for section in tdvf.sections if section.extended)
    pages = sum(section.memory_size // 4096 for section in tdvf.sections)
    stream = bytes(128 * pages + len(content) * 3 // 2)
    rows = []
    for order in PageOrder:
        for name, data, goal in (("its stream", stream, ">= 0.5"), ("the content", content, "")):
            pairs = paired(
                repeated(partial(mrtd, tdvf, order), 3),
                repeated(partial(hashlib.sha384, data), 3),
                ROUNDS,
                time.process_time,
            )
            rows.append(row(f"MRTD, {order.value}", f"SHA-384 of {name}", pairs, 3, goal))
    return rows


def lab() -> tuple[LabAuthority, bytes]:
    """An authority and a quote of its own."""
    authority = LabAuthority.create(NOW)
    tdreport = make_tdreport(
        mrtd=bytes(48), rtmr=(bytes(48),) * 4, report_data=bytes(64), td_attributes=1 << 28, xfam=0x602E7
    )
    return authority, authority.quote(tdreport)


def verify_rows() -> list[dict[str, Any]]:
    """Strict reading and verification beside the bare library, on the same quote."""
    authority, quote = lab()
    collateral, root = authority.collateral(NOW), authority.root_der
    bare = partial(dcap_qvl.verify_with_root_ca, quote, collateral.native, root, NOW)
    ours = partial(verify_quote, quote, collateral, NOW, root)
    verify = paired(repeated(ours, 40), repeated(bare, 40), 3 * ROUNDS, time.process_time)
    read = paired(
        repeated(partial(parse_quote, quote), 200),
        repeated(partial(dcap_qvl.parse_quote, quote), 200),
        ROUNDS,
        time.process_time,
    )
    return [
        row("verify a quote", "dcap_qvl.verify_with_root_ca", verify, 40, ">= 0.95"),
        row("read a quote strictly", "dcap_qvl.parse_quote", read, 200),
    ]


def process_rows() -> list[dict[str, Any]]:
    """Two processes beside one, all warm: the pool, and the bare library in processes without any pool."""
    authority, quote = lab()
    quotes = [quote] * QUOTES
    collateral, root = authority.collateral(NOW), authority.root_der
    pool = partial(verifier_pool, collateral, NOW, root)
    context = get_context("spawn")
    ends = []
    for _ in range(2):
        end, other = context.Pipe()
        context.Process(target=bare_loop, args=(other, collateral.text, root, quote), daemon=True).start()
        ends.append(end)

    def bare(count: int) -> None:
        for end in ends[:count]:
            end.send(QUOTES // count)
        for end in ends[:count]:
            end.recv()

    with pool(workers=1) as one, pool(workers=2) as two:
        actions = (
            lambda: list(two.verify(quotes)),
            lambda: list(one.verify(quotes)),
            partial(bare, 2),
            partial(bare, 1),
        )
        # The first round starts the processes.
        rounds = [[seconds(action) for action in actions] for _ in range(PROCESS_ROUNDS + 1)][1:]
    for end in ends:
        end.send(0)
    pooled = [(pair, single) for pair, single, _, _ in rounds]
    control = [(pair, single) for _, _, pair, single in rounds]
    return [
        row("a quote, pool of two processes", "pool of one", pooled, QUOTES, ">= 1.8"),
        row("the bare library, two processes", "one process", control, QUOTES),
    ]


def bare_loop(end: Connection, collateral: str, root: bytes, quote: bytes) -> None:
    """Verify as many times as is asked for, until 0 is asked for."""
    native = dcap_qvl.QuoteCollateralV3.from_json(collateral)
    while count := end.recv():
        for _ in range(count):
            dcap_qvl.verify_with_root_ca(quote, native, root, NOW)
        end.send(True)


def log_rows() -> list[dict[str, Any]]:
    """Parsing and replaying the log of a boot (two banks), beside hashing its bytes once."""
    data = sample_log()
    log = parse_log(data)
    peer = repeated(partial(hashlib.sha384, data), 100)
    actions: dict[str, Callable[[], object]] = {
        f"parse a log of {len(log.events)} events": partial(parse_log, data),
        "replay it to RTMRs": partial(rtmrs, log),
        "replay it to SHA-256 PCRs": partial(replay_pcrs, log, "sha256"),
    }
    return [
        row(name, "SHA-384 of the log", paired(repeated(action, 100), peer, ROUNDS, time.process_time), 100)
        for name, action in actions.items()
    ]


def sample_log() -> bytes:
    """The log that the tests use: every kind of event that OVMF and the EFI stub make."""
    sys.path.insert(0, str(ROOT))
    from tests.measure.logs import tcg_log

    return tcg_log().encode()


if __name__ == "__main__":
    main()
