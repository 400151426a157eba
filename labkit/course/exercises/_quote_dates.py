"""A quote at several dates: does it verify, what is the status, and which advisories apply?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from labkit.attest import Collateral, LabAuthority
from labkit.course._forms import LineOfText, Many, Number, Table
from labkit.course.draw import Draw
from labkit.course.exercises._quotes import NOW, MadeUp, collateral_with, events_of, verified
from labkit.course.model import Exercise, Question, Variant, check_answers, solve_by_answers

_DAY = 86_400
_STATUSES = ("UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "OutOfDate")
_OUTCOMES = (*_STATUSES, "refused")
_CASES = ("a", "b", "c", "d", "e", "f")


def _make(draw: Draw) -> Variant:
    authority = LabAuthority.create(NOW)
    machine = MadeUp(draw.bytes(48), events_of(draw.child("events"), "ro"), draw.bytes(64))
    quote, root = machine.quote(authority), authority.root_der
    advisories = [f"INTEL-SA-{draw.between(10000, 99999):05d}" for _ in range(6)]
    starts = [NOW + draw.between(2, 9) * _DAY + draw.below(_DAY) for _ in range(2)]
    bad = draw.choice(_STATUSES[1:])
    ids = tuple(draw.sample(advisories, 2))
    collaterals: dict[str, Collateral] = {
        "good": collateral_with(authority, starts[0], "UpToDate", ()),
        "bad": collateral_with(authority, starts[1], bad, ids),
    }
    moments: dict[str, dict[str, Any]] = {}
    ends = {name: int(entry.window[1].timestamp()) for name, entry in collaterals.items()}
    plan = [("good", 3), ("good", -2), ("good", 45), ("bad", 5), ("bad", -1), ("bad", 29)]
    for case, (which, days) in zip(_CASES, draw.shuffle(plan), strict=True):
        start = starts[0] if which == "good" else starts[1]
        moments[case] = {"collateral": f"{which}.json", "now": start + days * _DAY - draw.below(3600)}
    outcomes = {}
    for case, what in moments.items():
        verdict = verified(
            quote, collaterals[str(what["collateral"]).removesuffix(".json")], root, int(what["now"])
        )
        outcomes[case] = verdict.tcb_status if verdict.verified else "refused"
    files = {f"{name}.json": entry.text.encode() for name, entry in collaterals.items()}
    files |= {"quote.EMULATED.bin": quote, "root.der": root}
    return Variant(
        parameters={"quote": "quote.EMULATED.bin", "root": "root.der", "cases": moments},
        files=files,
        expected={
            "outcomes": outcomes,
            "advisories": sorted(ids),
            "expires": datetime.fromtimestamp(ends["good"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "seconds": ends["good"] - int(moments["a"]["now"]),
        },
        signed=frozenset(files),
    )


EXERCISE = Exercise(
    name="quote-dates",
    title="One quote at six dates",
    chapter="04-attest",
    questions=(
        Question(
            "outcomes",
            "What does verification say in each case? (the TCB status, or refused)",
            3,
            Table(_CASES, LineOfText(_OUTCOMES)),
            (
                "`verify_quote(quote, collateral, now, root)` verifies; all four are in your challenge.",
                "A verdict that is verified has a tcb_status; one that is not has a reason.",
                "Collateral has a first and a last day: `parse_collateral(…).window`.",
            ),
        ),
        Question(
            "advisories",
            "Which advisories apply where the TCB is not up to date?",
            1,
            Many(LineOfText(), ordered=False),
            ("`verdict.advisory_ids` of a case that verifies with bad.json.",),
        ),
        Question(
            "expires",
            "When does good.json expire? (as 2027-01-31T12:00:00Z)",
            1,
            LineOfText(),
            ("It is the nextUpdate in the signed documents: `parse_collateral(…).window[1]`.",),
            unique=True,
        ),
        Question(
            "seconds",
            "How many seconds after the moment of case a does it expire? (negative if before)",
            1,
            Number(-(1 << 40), 1 << 40),
            ("Both are seconds since 1970: int(window[1].timestamp()) - now.",),
            unique=True,
        ),
    ),
    make=_make,
    check=check_answers,
    solve=solve_by_answers,
)
