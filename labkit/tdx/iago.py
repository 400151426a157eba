"""An Iago attack: a host that lies in a TDVMCALL answer, to a trusting driver and to a checking one.

Both guests read one record from a "device" that the host plays: a shared page holds the record, the answer's
registers say how long it is and which of the guest's eight slots it is for. The guests are small programs
under the model; their memory is the model's private memory, and what is shown of it was read from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labkit.tdx._answers import Td
from labkit.tdx._platform import Platform
from labkit.tdx._result import Load, Program, Result, Store
from labkit.tdx.ghci import vmcall
from labkit.tdx.vmm import MR_EXTEND, Section, Vmm

# A function number that GHCI leaves to vendors would be used here; the model's VMM knows only this one.
READ_RECORD = 0x7001

CODE = 0x100000
# The driver's state, laid out as a C structure would be: buffer, then what happens to follow it.
STATE = 0x101000
BUFFER = STATE
BUFFER_SIZE = 32
IS_ADMIN = BUFFER + BUFFER_SIZE
KEY = IS_ADMIN + 8
TABLE = STATE + 0x100
SLOTS = 8
STATE_SIZE = TABLE + 8 * SLOTS - STATE


@dataclass(frozen=True)
class Answer:
    """What the host answers: length of the record and slot for it; the record lies in shared memory."""

    length: int
    slot: int
    record: bytes


HONEST = Answer(length=13, slot=2, record=b"sensor = 20 C")
LONG = Answer(length=40, slot=2, record=b"A" * 32 + (1).to_bytes(8, "little"))
WILD = Answer(length=8, slot=-27, record=b"host key")
PLAUSIBLE = Answer(length=13, slot=2, record=b"sensor = 99 C")


@dataclass(frozen=True)
class Outcome:
    """What one guest did with one answer: whether it took it, what it says, and its memory afterwards."""

    guest: str
    taken: bool
    says: str
    is_admin: int
    key: bytes
    buffer: bytes

    @property
    def corrupted(self) -> bool:
        """Whether something changed that the host has no business with."""
        return self.is_admin != 0 or self.key != SECRET_KEY

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "guest": self.guest,
            "taken": self.taken,
            "says": self.says,
            "is_admin": self.is_admin,
            "key": self.key.hex(),
            "buffer": self.buffer.hex(),
            "corrupted": self.corrupted,
        }

    def __str__(self) -> str:
        state = "CORRUPTED" if self.corrupted else "intact"
        return f"[EMULATED] {self.guest}: {self.says}; is_admin = {self.is_admin}; state {state}"

    __repr__ = __str__


SECRET_KEY = bytes.fromhex("00112233445566778899aabbccddeeff")

Driver = Callable[[int, list[str]], Program]


def trusting(shared: int, said: list[str]) -> Program:
    """A driver that believes the device: memcpy by the given length, store by the given index."""
    answer = yield from vmcall(READ_RECORD)
    length, slot = answer["r12"], _signed(answer["r13"])
    data = yield Load(shared, length)
    yield Store(BUFFER, data)
    yield Store(TABLE + 8 * slot, data[:8])
    said.append(f"took {length} bytes for slot {slot}")


def checking(shared: int, said: list[str]) -> Program:
    """A driver that checks: the length against its buffer, the index against its table, then copies once."""
    answer = yield from vmcall(READ_RECORD)
    length, slot = answer["r12"], _signed(answer["r13"])
    if not 0 <= length <= BUFFER_SIZE:
        said.append(f"refused: {length} bytes do not fit into {BUFFER_SIZE}")
        return
    if not 0 <= slot < SLOTS:
        said.append(f"refused: there is no slot {slot}")
        return
    data = yield Load(shared, length)
    yield Store(BUFFER, data)
    yield Store(TABLE + 8 * slot, data[:8])
    said.append(f"took {length} bytes for slot {slot}")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


class LyingVmm(Vmm):
    """A VMM that answers the record call with what it was told to say."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(Platform())
        self.answer = answer
        self.start()

    def on_vmcall(self, td: Td, exit_: Result) -> dict[str, int]:
        """Answer the record call as ordered, everything else as a correct host does."""
        if exit_["r11"] != READ_RECORD:
            return super().on_vmcall(td, exit_)
        target = self.share(td, td.shared_bit)
        self.platform.write(target, self.answer.record)
        return {"r10": 0, "r12": self.answer.length, "r13": self.answer.slot & (1 << 64) - 1}


def _guest(driver: Driver, shared: int, said: list[str], memory: list[bytes]) -> Program:
    yield Store(KEY, SECRET_KEY)
    yield from driver(shared, said)
    memory.append((yield Load(STATE, STATE_SIZE)))


def meet(driver: Driver, answer: Answer) -> Outcome:
    """Launch a guest with a driver on a host that gives an answer; returns what the guest's memory says."""
    host = LyingVmm(answer)
    td = host.launch([Section(CODE, 0x1000, driver.__name__.encode(), MR_EXTEND), Section(STATE, 0x1000)])
    said: list[str] = []
    memory: list[bytes] = []
    result = host.run(td, _guest(driver, td.shared_bit, said, memory))
    if not memory:
        return Outcome(driver.__name__, False, f"died: {result}", 0, SECRET_KEY, b"")
    state = memory[0]
    return Outcome(
        guest=driver.__name__,
        taken=said[0].startswith("took"),
        says=said[0],
        is_admin=int.from_bytes(state[IS_ADMIN - STATE : KEY - STATE], "little"),
        key=state[KEY - STATE : KEY - STATE + 16],
        buffer=state[:BUFFER_SIZE],
    )
