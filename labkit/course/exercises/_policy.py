"""Write a policy that accepts one's own TDVM and rejects the attackers' ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from labkit.attest import LabAuthority, Policy, QuoteVerdict, appraise, parse_policy
from labkit.course._forms import Json, ShownForm
from labkit.course.draw import Draw
from labkit.course.exercises._quotes import NOW, MadeUp, digest, events_of, files_of, verified
from labkit.course.model import AnswerMark, Claims, Exercise, Question, Task, Variant, canonical, mark
from labkit.errors import LabkitError
from labkit.measure import EventLog


def _attackers(own: MadeUp, draw: Draw) -> list[MadeUp]:
    """One for each part of the evidence that a policy can look at."""
    made = [replace(own, mrtd=draw.bytes(48)), replace(own, report_data=draw.bytes(64))]
    for register in range(4):
        number = draw.below(len(own.events[register]))
        name = own.events[register][number][0]
        made.append(own.with_event(register, number, name, digest(f"{name} {draw.word()}")))
    return made


def _make(draw: Draw) -> Variant:
    own = MadeUp(draw.bytes(48), events_of(draw.child("events"), f"seat={draw.word()}"), draw.bytes(64))
    authority = LabAuthority.create(NOW)
    collateral, root = authority.collateral(NOW), authority.root_der
    machines = {"own": own}
    for number, machine in enumerate(draw.shuffle(_attackers(own, draw.child("attackers"))), 1):
        machines[f"attacker-{number}"] = machine
    unseen = draw.child("unseen")
    others = [*_attackers(own, unseen), replace(own, mrtd=unseen.bytes(48), report_data=unseen.bytes(64))]
    files: dict[str, bytes] = {}
    quotes = {name: machine.quote(authority) for name, machine in machines.items()}
    for name, machine in machines.items():
        files |= files_of(name, quotes[name], machine.log, collateral, root)
    signed = frozenset(files)
    reference = {"registers": own.registers, "nonce": own.report_data.hex()}
    files["reference.json"] = canonical(reference, indent=1)
    judged = {
        name: (verified(quotes[name], collateral, root), machine.log) for name, machine in machines.items()
    }
    hidden = [(verified(machine.quote(authority), collateral, root), machine.log) for machine in others]
    return Variant(
        parameters={"reference": "reference.json", "now": NOW, "machines": sorted(machines)},
        files=files,
        hidden={"judged": judged, "unseen": hidden, "own": own},
        signed=signed,
    )


def _check(task: Task, claims: Claims) -> list[AnswerMark]:
    accepts, rejects, unseen = task.exercise.questions
    given = claims.answers.get(accepts.key)
    if accepts.form.empty(given):
        return [mark(question, 0, "Not answered.") for question in task.exercise.questions]
    try:
        policy = parse_policy(accepts.form.read(given), _no_files)
    except (ValueError, LabkitError) as error:
        return [
            mark(question, 0, f"It is not a policy: {error}"[:200]) for question in task.exercise.questions
        ]
    judged = task.variant.hidden["judged"]
    own = _accepted(policy, *judged["own"])
    let_in = [name for name in sorted(judged) if name != "own" and _accepted(policy, *judged[name])]
    missed = sum(_accepted(policy, *evidence) for evidence in task.variant.hidden["unseen"])
    return [
        mark(accepts, accepts.points * own, "It accepts your TDVM." if own else "It rejects your own TDVM."),
        # A policy that rejects everything protects nobody.
        mark(
            rejects,
            rejects.points * (own and not let_in),
            f"It lets in {', '.join(let_in)}." if let_in else "It rejects all attackers.",
        ),
        mark(
            unseen,
            unseen.points * (own and not missed),
            f"It lets in {missed} attackers that you were not shown." if missed else "It rejects those too.",
        ),
    ]


def _no_files(name: str) -> bytes:
    raise ValueError(f"a file is named in it ({name[:40]}); write the values themselves")


def _accepted(policy: Policy, verdict: QuoteVerdict, log: EventLog) -> bool:
    return appraise(policy, verdict, log).accepted


def _solve(task: Task) -> Claims:
    own = task.variant.hidden["own"]
    registers = own.registers
    policy: dict[str, Any] = {
        "allow_lab": True,
        "report_data": own.report_data.hex(),
        "mrtd": [registers["MRTD"]],
        "rtmr": [registers[f"RTMR{number}"] for number in range(4)],
    }
    return Claims({"policy": policy})


EXERCISE = Exercise(
    name="policy",
    title="Write a policy that accepts only your TDVM",
    chapter="04-attest",
    questions=(
        Question(
            "policy",
            "A policy that accepts your own TDVM",
            1,
            Json("a dictionary with the keys of labkit.attest.Policy"),
            (
                "`print(labkit.attest.Policy.__doc__)` explains every key; registers are written as hex.",
                "A lab authority signed all of these quotes: say that you know (allow_lab).",
                "reference.json is what the publisher of the guest says, and the nonce that you sent.",
            ),
        ),
        Question(
            "rejects",
            "It rejects the six attackers",
            3,
            ShownForm("your policy"),
            (
                "Every attacker differs from you in one part of the evidence. Which?",
                "What a policy leaves out is not checked: `appraise(…).unchecked` names it.",
                "MRTD, RTMR0 to RTMR3 and the nonce: all six.",
            ),
        ),
        Question(
            "unseen",
            "It rejects attackers that you have not seen",
            1,
            ShownForm("your policy"),
            ("Do not list what is bad. Say what is good.",),
        ),
    ),
    make=_make,
    check=_check,
    solve=_solve,
)
