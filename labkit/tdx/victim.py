"""What attacks are made of: outcome and log of an attack, and the programs its victim runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from labkit.tdx._result import GuestException, Load, Program, Result, Store, Tdcall
from labkit.tdx.ghci import Vmcall, accept, report, vmcall

CODE = 0x100000
DATA = 0x101000
SCRATCH = 0x102000
SECRET = b"the guest's secret"


class Verdict(StrEnum):
    """How an attack ended."""

    REFUSED = "refused"
    DETECTED = "detected"
    VISIBLE = "visible to a verifier"
    USELESS = "without effect"
    POSSIBLE = "NOT stopped"


@dataclass(frozen=True)
class Attack:
    """An attack and its outcome: the steps with what the machine answered, the verdict, the reason."""

    name: str
    goal: str
    verdict: Verdict
    why: str
    steps: tuple[tuple[str, str], ...]
    status: int | None = None

    @property
    def stopped(self) -> bool:
        """Whether TDX kept the attacker from the goal, or let a verifier see it."""
        return self.verdict is not Verdict.POSSIBLE

    def __repr__(self) -> str:
        return f"<Attack {self.name}: {self.verdict} EMULATED>"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        status = None if self.status is None else f"{self.status:#018x}"
        return {
            "name": self.name,
            "goal": self.goal,
            "verdict": self.verdict.value,
            "why": self.why,
            "status": status,
            "steps": [list(step) for step in self.steps],
        }

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.goal}"]
        lines += [f"  {what}\n      -> {answer}" for what, answer in self.steps]
        return "\n".join([*lines, f"  {self.verdict.value.upper()}: {self.why}"])


@dataclass
class Log:
    """Collects the steps of an attack."""

    name: str
    goal: str
    steps: list[tuple[str, str]] = field(default_factory=list)
    status: int | None = None

    def add(self, what: str, answer: object) -> None:
        """Note a step and its answer."""
        self.steps.append((what, str(answer)))
        if isinstance(answer, Result):
            self.status = answer.status

    def end(self, verdict: Verdict, why: str) -> Attack:
        """The outcome."""
        return Attack(self.name, self.goal, verdict, why, tuple(self.steps), self.status)

    def refused(self, result: Result, why: str) -> Attack:
        """The outcome of an attack that stands and falls with one call."""
        return self.end(Verdict.POSSIBLE if result.ok else Verdict.REFUSED, why)


# Guest programs of the victim.


def keep_secret() -> Program:
    """Store the secret."""
    yield Store(DATA, SECRET)


def overwrite(secret: bytes) -> Program:
    """Store another secret."""
    yield Store(DATA, secret)


def read_plain(seen: list[str]) -> Program:
    """Read the secret; no handler for exceptions."""
    data = yield Load(DATA, len(SECRET))
    seen.append(repr(data))


def read_scratch(seen: list[str]) -> Program:
    """Read another private page."""
    data = yield Load(SCRATCH, len(SECRET))
    seen.append(repr(data))


def read_with_handler(seen: list[str]) -> Program:
    """Read the secret; accept the page on #VE, as guests without SEPT_VE_DISABLE may."""
    try:
        data = yield Load(DATA, len(SECRET))
    except GuestException as fault:
        seen.append(str(fault))
        yield Tdcall("TDG.VP.VEINFO.GET")
        result = yield from accept(DATA)
        seen.append(f"accept: {result.name}")
        data = yield Load(DATA, len(SECRET))
    seen.append(repr(data))


def read_msr(seen: list[str]) -> Program:
    """Ask the host for an MSR."""
    regs = yield from vmcall(Vmcall.RDMSR, r12=0x10)
    seen.append(f"the guest got {regs['r11']:#x}")


def report_into(reports: list[bytes]) -> Program:
    """Make a TDREPORT."""
    reports.append((yield from report(SCRATCH, b"nonce")))


def walk_by_secret(secret: int) -> Program:
    """A guest that touches one page for a 1 bit and another for a 0 bit."""
    for bit in range(4):
        yield Load(DATA if secret >> bit & 1 else SCRATCH, 1)
        yield Load(CODE, 1)
