"""Many mutations of good quotes, reports and logs; none may pass for what it is not, none may crash.

Example: python -m tests.attest.campaign 100000
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable

from labkit.attest import LabAuthority, parse_tdreport, verify_quote
from labkit.errors import LabkitError, MalformedEvidence
from labkit.measure import parse_log, rtmrs
from tests.attest.conftest import NOW, report
from tests.attest.mutations import mutations
from tests.measure.logs import ccel, tcg_log

Judge = Callable[[bytes, bytes], str]
# The bytes of a TDREPORT that only the processor's MAC protects, and its version.
_FREE = {2, *range(16, 32), *range(128, 192), *range(224, 256)}


def judge_quote(authority: LabAuthority, *, intel: bool) -> Judge:
    """Verification of a changed quote, under the lab's root or under Intel's."""
    collateral = authority.collateral(NOW)
    root = None if intel else authority.root_der

    def judge(good: bytes, data: bytes) -> str:
        try:
            verdict = verify_quote(data, collateral, NOW, root)
        except MalformedEvidence:
            return "malformed"
        if not verdict.verified:
            return "refused"
        grown = data[: len(good)] == good and not any(data[len(good) :])
        return "padded" if grown and not intel else "WRONGLY VERIFIED"

    return judge


def judge_report(good: bytes, data: bytes) -> str:
    """Reading of a changed TDREPORT: only bytes under the MAC alone may differ."""
    try:
        parse_tdreport(data)
    except MalformedEvidence:
        return "malformed"
    changed = {at for at in range(1024) if good[at] != data[at]}
    return "under the MAC alone" if changed <= _FREE else "WRONGLY READ"


def judge_log(good: bytes, data: bytes) -> str:
    """Replay of a changed log: equal registers need equal digests in equal order."""
    try:
        log = parse_log(data, parse_log(good).format)
        values = rtmrs(log)
    except LabkitError:
        return "malformed"
    if values != rtmrs(parse_log(good)):
        return "other registers"
    before, after = (
        [(log.register_name(e), e.digest()) for e in x.events if e.extends] for x in (parse_log(good), log)
    )
    by_register = [[d for r, d in rows if r == f"RTMR{n}"] for rows in (before, after) for n in range(4)]
    return "same digests" if by_register[:4] == by_register[4:] else "WRONGLY REPLAYED"


def main(count: int) -> None:
    """Print the outcomes of ``count`` mutations of each kind of evidence as JSON."""
    authority = LabAuthority.create(NOW)
    v4, v5 = authority.quote(report()), authority.quote(report(), 5)
    cases: dict[str, tuple[bytes, Judge]] = {
        "quote v4, lab root": (v4, judge_quote(authority, intel=False)),
        "quote v5, lab root": (v5, judge_quote(authority, intel=False)),
        "lab quote v4, Intel's root": (v4, judge_quote(authority, intel=True)),
        "TDREPORT": (report().encode(), judge_report),
        "CCEL": (ccel(b"\xff" * 64).encode(), judge_log),
        "TCG log": (tcg_log().encode(), judge_log),
    }
    for name, (good, judge) in cases.items():
        start = time.perf_counter()
        outcomes = Counter(judge(good, data) for data in mutations(good, count, seed=count))
        seconds = round(time.perf_counter() - start, 1)
        line = {"evidence": name, "mutations": count, "seconds": seconds, "outcomes": dict(outcomes)}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
