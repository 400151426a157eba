"""Obtain three given refusals from the TDX module."""

from __future__ import annotations

from collections.abc import Callable

from labkit.course._calls import DATA, ModelMachine, repeat, started
from labkit.course._forms import Json
from labkit.course.draw import Draw
from labkit.course.model import AnswerMark, Claims, Exercise, Question, Task, Variant, mark
from labkit.tdx import Result


def _alias(machine: ModelMachine) -> Result:
    td, host = machine.td, machine.host
    assert td is not None
    seen = machine.platform.seamcall("TDH.MEM.SEPT.RD", rcx=DATA, rdx=td.tdr)["rcx"]
    page = seen & machine.platform.pa_mask & ~0xFFF
    host.tables(td, 0x104000)
    return machine.platform.seamcall("TDH.MEM.PAGE.AUG", rcx=0x104000, rdx=td.tdr, r8=page)


def _remove_at_once(machine: ModelMachine) -> Result:
    assert machine.td is not None
    return machine.platform.seamcall("TDH.MEM.PAGE.REMOVE", rcx=DATA, rdx=machine.td.tdr)


def _remove_untracked(machine: ModelMachine) -> Result:
    assert machine.td is not None
    machine.platform.seamcall("TDH.MEM.RANGE.BLOCK", rcx=DATA, rdx=machine.td.tdr)
    return machine.platform.seamcall("TDH.MEM.PAGE.REMOVE", rcx=DATA, rdx=machine.td.tdr)


def _add_late(machine: ModelMachine) -> Result:
    td, host = machine.td, machine.host
    assert td is not None
    host.tables(td, 0x105000)
    regs = {"rcx": 0x105000, "rdx": td.tdr, "r8": host.page(), "r9": host.host_page()}
    return machine.platform.seamcall("TDH.MEM.PAGE.ADD", **regs)


def _finalize_again(machine: ModelMachine) -> Result:
    assert machine.td is not None
    return machine.platform.seamcall("TDH.MR.FINALIZE", rcx=machine.td.tdr)


def _debug_read(machine: ModelMachine) -> Result:
    assert machine.td is not None
    return machine.platform.seamcall("TDH.MEM.RD", rcx=DATA, rdx=machine.td.tdr)


def _reuse_keyid(machine: ModelMachine) -> Result:
    assert machine.td is not None
    return machine.platform.seamcall("TDH.MNG.CREATE", rcx=machine.host.page(), rdx=machine.td.hkid)


def _free_keyid(machine: ModelMachine) -> Result:
    assert machine.td is not None
    return machine.platform.seamcall("TDH.MNG.KEY.FREEID", rcx=machine.td.tdr)


def _reclaim(machine: ModelMachine) -> Result:
    assert machine.td is not None
    return machine.platform.seamcall("TDH.PHYMEM.PAGE.RECLAIM", rcx=machine.td.tdr)


def _elsewhere(machine: ModelMachine) -> Result:
    assert machine.td is not None
    return machine.platform.seamcall("TDH.VP.ENTER", 1, rcx=machine.td.vcpus[0])


_WAYS: tuple[Callable[[ModelMachine], Result], ...] = (
    _alias,
    _remove_at_once,
    _remove_untracked,
    _add_late,
    _finalize_again,
    _debug_read,
    _reuse_keyid,
    _free_keyid,
    _reclaim,
    _elsewhere,
)
_KEYS = ("first", "second", "third")


def _make(draw: Draw) -> Variant:
    skip = draw.between(1, 200)
    wanted = {}
    ways = {}
    for key, number in zip(_KEYS, draw.sample(range(len(_WAYS)), len(_KEYS)), strict=True):
        machine = started(skip, victim=True)
        result = _WAYS[number](machine)
        leaf = machine.calls()[-1]["leaf"]
        wanted[key] = {"leaf": leaf, "status": result.name}
        ways[key] = number
    return Variant(parameters={"skip": skip, **wanted}, hidden={"ways": ways})


def _check(task: Task, claims: Claims) -> list[AnswerMark]:
    return [_one(task, question, claims) for question in task.exercise.questions]


def _one(task: Task, question: Question, claims: Claims) -> AnswerMark:
    given = claims.answers.get(question.key)
    wanted = task.variant.parameters[question.key]
    if question.form.empty(given):
        return mark(question, 0, "Not answered.")
    machine = started(task.variant.parameters["skip"], victim=True)
    tdr = machine.td.tdr if machine.td else 0
    try:
        done = repeat(machine, given)
    except ValueError as error:
        return mark(question, 0, f"{error}"[:200])
    if not done or not isinstance(given, list):
        return mark(question, 0, "There is no call in it.")
    if "write" in given[-1]:
        return mark(question, 0, "The last thing in it is a write, not the call that is refused.")
    leaf, result = done[-1]
    if leaf != wanted["leaf"] or result.name != wanted["status"]:
        return mark(question, 0, f"The last call, {leaf}, was answered {result.name}.")
    regs = given[-1].get("regs", {})
    own = {tdr, *(machine.td.vcpus if machine.td else ())}
    if leaf != "TDH.MNG.CREATE" and not own & {int(value) for value in regs.values()}:
        return mark(question, 0, "The refusal is right, but the call was not about your victim.")
    return mark(question, question.points, f"{leaf} was answered {result.name}.")


def _solve(task: Task) -> Claims:
    answers = {}
    for key, number in task.variant.hidden["ways"].items():
        machine = started(task.variant.parameters["skip"], victim=True)
        _WAYS[number](machine)
        answers[key] = machine.calls()
    return Claims(answers)


EXERCISE = Exercise(
    name="refusals",
    title="Obtain three given refusals",
    chapter="05-inside-tdx",
    questions=tuple(
        Question(
            key,
            f"Calls whose last one is answered with the {key} refusal",
            2,
            Json("a list of calls, as machine.calls() gives it"),
            (
                'Section 15 of chapter 05 runs attacks; `print(tdx.attack("alias"))` shows the calls of one.',
                "The name of the status says what the module looked at: a page's owner, a state, an epoch.",
                "`for name in tdx.ATTACKS: print(tdx.attack(name))` shows every refusal that you may get.",
            ),
        )
        for key in _KEYS
    ),
    make=_make,
    check=_check,
    solve=_solve,
    public=frozenset(_KEYS),
)
