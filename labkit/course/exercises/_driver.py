"""Repair a driver so that a lying host cannot corrupt the guest; the lies are hidden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labkit.course._forms import Code, ShownForm
from labkit.course._remote import program
from labkit.course.draw import Draw
from labkit.course.model import AnswerMark, Claims, Exercise, Question, Task, Variant, mark
from labkit.course.sandbox import Limits, SandboxDied, SandboxTimeout, sandbox
from labkit.errors import LabkitError
from labkit.tdx import Load, Platform, Program, Result, Section, Store, Td, TdExit, Vmm

_CODE, _STATE = 0x100000, 0x101000
_MR_EXTEND = 1
_KEY = bytes.fromhex("00112233445566778899aabbccddeeff")
_LIMITS = Limits(seconds=20.0)

BROKEN = '''\
def driver(shared, said):
    """Read one record from the device; believe what it says."""
    answer = yield from vmcall(FUNCTION)
    length, slot = answer["r12"], signed(answer["r13"])
    data = yield Load(shared, length)
    yield Store(BUFFER, data)
    yield Store(TABLE + 8 * slot, data[:8])
    said.append("took")
'''
REPAIRED = '''\
def driver(shared, said):
    """Read one record from the device; check what it says before use."""
    answer = yield from vmcall(FUNCTION)
    length, slot = answer["r12"], signed(answer["r13"])
    if answer["r10"] or not 0 < length <= BUFFER_SIZE or not 0 <= slot < SLOTS:
        said.append("refused")
        return
    data = yield Load(shared, length)
    yield Store(BUFFER, data)
    yield Store(TABLE + 8 * slot, data[:8])
    said.append("took")
'''


@dataclass(frozen=True)
class DriverLayout:
    """The driver's memory: a buffer, right behind it a flag and a key, then a table of slots."""

    function: int
    buffer_size: int
    slots: int

    @property
    def key(self) -> int:
        """Where the key is."""
        return _STATE + self.buffer_size + 8

    @property
    def table(self) -> int:
        """Where the table of slots is."""
        return _STATE + 0x200

    def head(self) -> str:
        """What stands above a driver of this layout."""
        return (
            "from labkit.tdx import Load, Store, vmcall\n\n"
            f"FUNCTION = {self.function:#x}  # the call that asks for a record\n"
            f"BUFFER, BUFFER_SIZE = {_STATE:#x}, {self.buffer_size}\n"
            f"TABLE, SLOTS = {self.table:#x}, {self.slots}\n\n\n"
            "def signed(value):\n"
            '    """A register as a signed number."""\n'
            "    return value - (1 << 64) if value >> 63 else value\n\n\n"
        )


@dataclass(frozen=True)
class Lie:
    """What the host answers, and whether a driver must take it."""

    status: int
    length: int
    slot: int
    honest: bool


@dataclass(frozen=True)
class Met:
    """What became of a guest: what its driver said, and whether its memory is as it should be."""

    said: str
    corrupted: bool
    stored: bool


class _Host(Vmm):
    """Answers the driver's call as it was told."""

    def __init__(self, layout: DriverLayout, lie: Lie) -> None:
        super().__init__(Platform(trace=False))
        self.layout, self.lie = layout, lie
        self.start()

    def on_vmcall(self, td: Td, exit_: Result) -> dict[str, int]:
        """The lie, for the driver's own call."""
        if exit_["r11"] != self.layout.function:
            return super().on_vmcall(td, exit_)
        self.platform.write(self.share(td, td.shared_bit), b"\xa5" * 256)
        lie = self.lie
        return {"r10": lie.status, "r12": lie.length & (1 << 64) - 1, "r13": lie.slot & (1 << 64) - 1}


def meet(layout: DriverLayout, lie: Lie, driver: Callable[[int, list[str]], Program]) -> Met:
    """A guest with a driver meets a host with an answer; its memory is read from the model afterwards."""
    host = _Host(layout, lie)
    td = host.launch([Section(_CODE, 0x1000, b"driver", _MR_EXTEND), Section(_STATE, 0x1000)])
    said: list[str] = []
    memory: list[bytes] = []

    def guest() -> Program:
        yield Store(layout.key, _KEY)
        yield from driver(td.shared_bit, said)
        memory.append((yield Load(_STATE, 0x1000)))

    host.run(td, guest(), limit=200)
    if not memory:
        return Met("died", False, False)
    state = memory[0]
    table = layout.table - _STATE
    before = state[layout.buffer_size : layout.buffer_size + 8] == bytes(8)
    key = state[layout.key - _STATE : layout.key - _STATE + 16] == _KEY
    rest = state[layout.key - _STATE + 16 : table] + state[table + 8 * layout.slots :]
    stored = state[table : table + 8 * layout.slots] != bytes(8 * layout.slots)
    return Met(said[0] if said else "", not (before and key) or any(rest), stored)


def layout_of(parameters: Any) -> DriverLayout:
    """The layout in a challenge's parameters."""
    return DriverLayout(parameters["function"], parameters["buffer_size"], parameters["slots"])


def _make(draw: Draw) -> Variant:
    layout = DriverLayout(0x7000 + draw.between(1, 0xFFF), 8 * draw.between(3, 12), draw.between(4, 16))
    size, slots = layout.buffer_size, layout.slots
    lies = [Lie(0, draw.between(8, size), draw.below(slots), True) for _ in range(3)]
    lies += [Lie(0, size, slots - 1, True), Lie(0, 8, 0, True)]
    lies += [
        Lie(0, size + 1, 0, False),
        Lie(0, size + draw.between(8, 100), draw.below(slots), False),
        Lie(0, 8, slots, False),
        Lie(0, 8, -1 - draw.below(20), False),
        Lie(0, 1 << 63, 1, False),
        Lie(0, 16, 1 << 40, False),
        Lie(0, size, -(1 << 20), False),
        Lie(1 << 63, 8, 0, False),
    ]
    return Variant(
        parameters={"driver": "driver.py", "function": layout.function, "buffer_size": size, "slots": slots},
        files={"driver.py": (layout.head() + BROKEN).encode()},
        hidden={"lies": draw.shuffle(lies)},
    )


def _check(task: Task, claims: Claims) -> list[AnswerMark]:
    source, honest, lying = task.exercise.questions
    given = claims.answers.get(source.key)
    if source.form.empty(given):
        return [mark(question, 0, "Not answered.") for question in task.exercise.questions]
    try:
        text = source.form.read(given)
        layout = layout_of(task.variant.parameters)
        outcomes = _meetings(layout, text, task.variant.hidden.get("lies") or _public_lies(layout))
    except (ValueError, SandboxDied) as error:
        return [
            mark(question, 0, f"The driver does not run: {error}"[:200])
            for question in (source, honest, lying)
        ]
    except SandboxTimeout as late:
        why = f"The driver {late}."
        return [mark(question, 0, why, timeout=True) for question in (source, honest, lying)]
    taken = [met.said == "took" and met.stored and not met.corrupted for lie, met in outcomes if lie.honest]
    refused = [
        met.said != "died" and not met.corrupted and not met.stored for lie, met in outcomes if not lie.honest
    ]
    works = all(taken)
    return [
        mark(source, source.points * works, "It runs." if works else "It does not take honest answers."),
        mark(honest, honest.points * works, f"{sum(taken)} of {len(taken)} honest answers were taken."),
        # Refusing everything is not a repair.
        mark(
            lying,
            lying.points * (works and all(refused)),
            f"{sum(refused)} of {len(refused)} lies were refused without harm.",
        ),
    ]


def _public_lies(layout: DriverLayout) -> list[Lie]:
    """What a self-check may show: the honest answer, and the two lies of chapter 06."""
    return [
        Lie(0, 8, 0, True),
        Lie(0, layout.buffer_size + 8, 0, False),
        Lie(0, 8, -3, False),
    ]


def _meetings(layout: DriverLayout, text: str, lies: list[Lie]) -> list[tuple[Lie, Met]]:
    with sandbox(_LIMITS, "function") as talk:
        talk.send({"code": text, "function": "driver"})
        first = talk.receive()
        if not isinstance(first, dict) or not first.get("ready"):
            raise SandboxDied(str(first.get("broken") if isinstance(first, dict) else first)[:200])
        outcomes = []
        for lie in lies:
            try:
                outcomes.append((lie, meet(layout, lie, lambda shared, said: program(talk, [shared], said))))
            except (LabkitError, TdExit) as error:
                raise SandboxDied(
                    f"its guest did something that the model has no answer for: {error}"
                ) from None
        return outcomes


def _solve(task: Task) -> Claims:
    return Claims({"source": layout_of(task.variant.parameters).head() + REPAIRED})


EXERCISE = Exercise(
    name="driver",
    title="Repair a driver against a lying host",
    chapter="06-why-asterinas",
    questions=(
        Question(
            "source",
            "Your driver runs",
            1,
            Code("the text of a function driver(shared, said)"),
            (
                "Start from the broken driver and change as little as you can.",
                "It is a generator: it yields Load and Store, and `yield from vmcall(…)` asks the host.",
            ),
        ),
        Question(
            "honest",
            "It takes every honest answer",
            2,
            ShownForm("your driver"),
            (
                "The largest honest record fills the whole buffer; the last slot is SLOTS - 1.",
                'It says "took" once it has stored the record.',
            ),
        ),
        Question(
            "lying",
            "No lie corrupts the guest",
            4,
            ShownForm("your driver"),
            (
                "Check every register of the answer before you use it.",
                "A length can be too large, and a slot can be negative, too large, or absurdly large.",
                "R10 is the status: where it is not 0, the host did not answer the call at all.",
            ),
        ),
    ),
    make=_make,
    check=_check,
    solve=_solve,
    code=True,
    public=frozenset({"source", "honest", "lying"}),
)
