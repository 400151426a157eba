"""Bring a TD into a given state on the model, by SEAMCALLs."""

from __future__ import annotations

from typing import Any

from labkit.course._calls import ModelMachine, repeat, started
from labkit.course._forms import Json, ShownForm
from labkit.course.draw import Draw
from labkit.course.model import AnswerMark, Claims, Exercise, Question, Task, Variant, mark
from labkit.tdx import MODELLED, sept_walk
from labkit.tdx import TdParams as _TdParams

_STATES = ("MAPPED", "PENDING", "BLOCKED", "PENDING_BLOCKED")
_ATTRIBUTE = 1 << 28


def _make(draw: Draw) -> Variant:
    return Variant(
        parameters={
            "skip": draw.between(1, 200),
            "keyid": draw.between(33, 62),
            "vcpus": draw.between(1, 3),
            "gpa": draw.between(1, 0xFFFF) << 12,
            "page": draw.choice(_STATES),
        }
    )


def _check(task: Task, claims: Claims) -> list[AnswerMark]:
    calls, finalized, vcpus, page = task.exercise.questions
    given = claims.answers.get(calls.key)
    wanted = task.variant.parameters
    none = [mark(question, 0, "There is no such TD.") for question in (finalized, vcpus, page)]
    if calls.form.empty(given):
        return [mark(calls, 0, "Not answered."), *none]
    machine = started(wanted["skip"])
    try:
        repeat(machine, given)
    except ValueError as error:
        return [mark(calls, 0, f"{error}"[:200]), *none]
    tdr = next((tdr for tdr in machine.platform.tdrs.values() if tdr.hkid == wanted["keyid"]), None)
    if tdr is None:
        return [mark(calls, 0, f"No TD has the KeyID {wanted['keyid']} after these calls."), *none]
    address = next(pfn << 12 for pfn, entry in machine.platform.tdrs.items() if entry is tdr)
    state = tdr.tdcs.op_state.name
    count = sum(
        vp.tdr is tdr and vp.state.name in ("READY", "ACTIVE") for vp in machine.platform.vps.values()
    )
    found = _page(machine, address, wanted["gpa"])
    return [
        mark(calls, calls.points, f"There is a TD with KeyID {wanted['keyid']}."),
        mark(finalized, finalized.points * (state == "RUNNABLE"), f"The TD is {state}."),
        mark(vcpus, vcpus.points * (count == wanted["vcpus"]), f"It has {count} initialized vCPUs."),
        mark(page, page.points * (found == wanted["page"]), f"The page at {wanted['gpa']:#x} is {found}."),
    ]


def _page(machine: ModelMachine, tdr: int, gpa: int) -> str:
    try:
        last = sept_walk(machine.platform, tdr, gpa)[-1]
    except (LookupError, AttributeError, TypeError):
        return "not there"
    return str(last["state"]) if last["level"] == 0 else "not there"


def build(parameters: dict[str, Any]) -> ModelMachine:
    """A machine on which the wanted state was reached."""
    machine = started(parameters["skip"])
    host, gpa, page = machine.host, parameters["gpa"], parameters["page"]
    td = host.create(_TdParams(attributes=_ATTRIBUTE), parameters["keyid"])
    for _ in range(parameters["vcpus"]):
        host.add_vcpu(td)
    if not page.startswith("PENDING"):
        host.add_page(td, gpa, b"")
    host.call("TDH.MR.FINALIZE", rcx=td.tdr)
    if page.startswith("PENDING"):
        host.aug(td, gpa)
    if page.endswith("BLOCKED"):
        host.call("TDH.MEM.RANGE.BLOCK", rcx=gpa, rdx=td.tdr)
    machine.td = td
    return machine


def _solve(task: Task) -> Claims:
    return Claims({"calls": build(dict(task.variant.parameters)).calls()})


assert "TDH.MEM.RANGE.BLOCK" in MODELLED

EXERCISE = Exercise(
    name="td-state",
    title="Bring a TD into a given state, by SEAMCALLs",
    chapter="05-inside-tdx",
    questions=(
        Question(
            "calls",
            "Your calls: a TD with your KeyID",
            1,
            Json("a list of calls, as machine.calls() gives it"),
            (
                "Chapter 05 makes every call by hand; sections 4 to 8 are what you need.",
                "Start with TDH.MNG.CREATE: RCX is a free page, RDX your KeyID.",
                "machine.host has the steps as methods: create, add_vcpu, add_page, aug. See what they call.",
            ),
        ),
        Question(
            "finalized",
            "The TD's measurement is closed: it is RUNNABLE",
            1,
            ShownForm("your calls"),
            ("TDH.MR.FINALIZE closes MRTD; before it the TD must be initialized.",),
        ),
        Question(
            "vcpus",
            "It has as many vCPUs as you were given",
            2,
            ShownForm("your calls"),
            ("TDH.VP.CREATE, five TDH.VP.ADDCX and TDH.VP.INIT make one.",),
        ),
        Question(
            "page",
            "The page at your address is in the state that you were given",
            2,
            ShownForm("your calls"),
            (
                "Only PAGE.ADD gives a MAPPED page, and only before FINALIZE.",
                "AUG gives a PENDING page, and only after FINALIZE. BLOCK works on both.",
                "The tree needs a Secure EPT page on each level before a leaf can be added.",
            ),
        ),
    ),
    make=_make,
    check=_check,
    solve=_solve,
    public=frozenset({"calls", "finalized", "vcpus", "page"}),
)
